//! The socket: enters an HTTP request, leaves an answer, or a connection closed without one.
//!
//! An own accept loop, since axum's cannot close a connection instead of answering.

use super::{Answer, Garbage, Taken, World, meta, twilio};
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use std::sync::Arc;
use tower::ServiceExt as _;

/// A response with this in its extensions is never written: the connection closes.
#[derive(Clone, Copy)]
struct Cut;

/// Why a connection ended: it was meant to.
#[derive(Debug, thiserror::Error)]
#[error("closed on purpose")]
struct ClosedOnPurpose;

pub(super) async fn serve(world: Arc<World>, listener: tokio::net::TcpListener) {
    let router = axum::Router::new()
        .route("/{version}/{phone_number_id}/messages", post(meta::messages))
        .route("/2010-04-01/Accounts/{account}/Messages.json", post(twilio::messages))
        .route("/2010-04-01/Accounts/{account}/Calls.json", post(twilio::calls))
        .route("/livez", get(async || "alive\n"))
        .fallback(async || (StatusCode::NOT_FOUND, "no such resource at this provider\n"))
        .with_state(world.clone());
    loop {
        let stream = tokio::select! {
            () = world.shutdown.cancelled() => return,
            taken = listener.accept() => match taken {
                Ok((stream, _)) => stream,
                // Out of file handles, most likely: a pause, or the loop would spin.
                Err(_) => { tokio::time::sleep(std::time::Duration::from_millis(50)).await; continue }
            },
        };
        let router = router.clone();
        let shutdown = world.shutdown.clone();
        world.tasks.spawn(async move {
            let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let router = router.clone();
                async move {
                    let response = router.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {});
                    if response.extensions().get::<Cut>().is_some() { Err(ClosedOnPurpose) } else { Ok(response) }
                }
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(hyper_util::rt::TokioIo::new(stream), service);
            tokio::select! { () = shutdown.cancelled() => {}, _ = connection => {} }
        });
    }
}

/// Closes the connection instead of answering.
pub(super) fn cut() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Cut);
    response
}

/// A JSON answer. Both providers name no other type.
pub(super) fn json(status: u16, body: &serde_json::Value) -> Response {
    let mut response = (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body.to_string()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    response
}

/// Gives the call the answer that the script chose. `accepted` and `error` are the provider's own bodies.
pub(super) async fn answer(world: &World, taken: &Taken, status: u16, accepted: &serde_json::Value, error: impl Fn(u32) -> serde_json::Value) -> Response {
    let already = world.elapsed().saturating_sub(taken.accepted);
    let rest = world.scaled(taken.behaviour.answer_after).saturating_sub(already);
    if !rest.is_zero() && !world.pause(rest).await {
        return cut();
    }
    match &taken.answer {
        Answer::Accept | Answer::Held => json(status, accepted),
        Answer::Error { code, retry_after_secs, .. } => retry_after(json(status, &error(*code)), *retry_after_secs),
        Answer::Bare { retry_after_secs, .. } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            retry_after(status.into_response(), *retry_after_secs)
        }
        Answer::Lost { .. } => cut(),
        Answer::Hang { .. } => {
            world.shutdown.cancelled().await;
            cut()
        }
        Answer::Garbage(garbage) => {
            let body = match garbage {
                Garbage::NotJson => Body::from(&b"<html>\xff\xfe nothing useful"[..]),
                Garbage::NoId => Body::from("{}"),
                Garbage::Huge => Body::from(vec![b'['; 50_000_000]),
            };
            (StatusCode::from_u16(status).unwrap_or(StatusCode::OK), body).into_response()
        }
    }
}

fn retry_after(mut response: Response, secs: Option<u32>) -> Response {
    if let Some(secs) = secs {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
    }
    response
}
