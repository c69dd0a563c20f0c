//! Enters: questions from the bank's own network; leaves: `/livez`, `/readyz` and `/metrics`. It has a port of its own, which no webhook reaches.

use super::Health;
use super::health::Report;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Encoder, TextEncoder};
use std::future::Future;
use tokio::net::TcpListener;

/// Answers on `listener` until `shutdown` ends. Error: the listener broke.
///
/// Connections have no deadline of their own: this port stands open to the bank's own network alone.
pub async fn serve(listener: TcpListener, health: Health, shutdown: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
    let router = Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).route("/metrics", get(metrics)).with_state(health);
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}

async fn livez(State(health): State<Health>) -> Response {
    answer(&health.live(crate::clock::monotonic()))
}

async fn readyz(State(health): State<Health>) -> Response {
    answer(&health.ready())
}

async fn metrics() -> Response {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&super::registry().gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn answer(report: &Report) -> Response {
    let status = if report.well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(report)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::health::Cause;

    #[tokio::test]
    async fn the_three_questions_are_answered_and_the_server_ends_when_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let health = Health::new();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, health.clone(), async move { drop(ended.await) }));

        let ask = |path: &str| reqwest::get(format!("{base}{path}"));
        assert_eq!(ask("/livez").await.unwrap().status(), 200);
        let red = ask("/readyz").await.unwrap();
        assert_eq!(red.status(), 503);
        let said: serde_json::Value = red.json().await.unwrap();
        assert_eq!((said["well"].as_bool(), said["causes"][0]["cause"].as_str()), (Some(false), Some("starting")));
        health.set(Cause::Starting, None);
        assert_eq!(ask("/readyz").await.unwrap().status(), 200);
        let text = ask("/metrics").await.unwrap().text().await.unwrap();
        assert!(
            text.contains("# TYPE recado_health_causes gauge") && text.contains("process_resident_memory_bytes") && text.contains("recado_build_info"),
            "{text}"
        );
        assert_eq!(ask("/other").await.unwrap().status(), 404);

        end.send(()).unwrap();
        server.await.unwrap().unwrap();
    }
}
