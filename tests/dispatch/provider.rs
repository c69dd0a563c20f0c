//! A provider of text messages that does as it is told, and remembers every request whose body arrived.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use recado::delivery::AttemptId;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the next request gets; when the list is empty, [`Manner::Accept`].
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    Accept,
    Status(u16, &'static str),
    /// Answers after so long.
    Slow(Duration),
    /// Takes the request and closes the connection.
    HangUp,
    /// More than anybody should read.
    Flood,
}

#[derive(Clone)]
pub struct Provider {
    pub address: String,
    state: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    calls: Vec<AttemptId>,
    next: VecDeque<Manner>,
    always: Option<Manner>,
}

impl Provider {
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(Inner::default()));
        let router = Router::new().route("/2010-04-01/Accounts/{account}/Messages.json", post(message)).with_state(state.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, state }
    }

    pub fn next(&self, manners: &[Manner]) {
        self.state.lock().unwrap().next.extend(manners);
    }

    pub fn always(&self, manner: Manner) {
        self.state.lock().unwrap().always = Some(manner);
    }

    pub fn calls(&self) -> Vec<AttemptId> {
        self.state.lock().unwrap().calls.clone()
    }
}

async fn message(State(state): State<Arc<Mutex<Inner>>>, body: String) -> Response {
    let form: Vec<(String, String)> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let callback = form.iter().find(|(name, _)| name == "StatusCallback").map(|(_, value)| value.clone()).unwrap();
    let attempt = callback.split("a=").nth(1).and_then(|rest| rest.split('#').next()).and_then(AttemptId::parse).unwrap();
    let manner = {
        let mut state = state.lock().unwrap();
        state.calls.push(attempt);
        let next = state.next.pop_front();
        next.or(state.always).unwrap_or(Manner::Accept)
    };
    let accepted = || (StatusCode::CREATED, r#"{"sid":"SM1","status":"queued"}"#).into_response();
    match manner {
        Manner::Accept => accepted(),
        Manner::Status(status, body) => (StatusCode::from_u16(status).unwrap(), body).into_response(),
        Manner::Slow(span) => {
            tokio::time::sleep(span).await;
            accepted()
        }
        // The connection's task ends and takes the connection with it.
        Manner::HangUp => panic!("the provider hangs up, as it was told"),
        Manner::Flood => (StatusCode::CREATED, format!(r#"{{"sid":"SM1","padding":"{}"}}"#, "x".repeat(1 << 20))).into_response(),
    }
}
