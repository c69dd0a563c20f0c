//! A schema registry's double: the two routes that Recado asks, with Confluent's answers, over real HTTP.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use recado::event::registry::{self, SchemaCache};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A double under way.
pub struct Double {
    /// Its address.
    pub url: String,
    away: Arc<AtomicBool>,
}

impl Double {
    /// Knows these schemas by their ids and no others.
    pub async fn with(schemas: &[(u32, String)]) -> Self {
        let away = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Known { schemas: schemas.iter().cloned().collect(), away: away.clone() });
        let routes = axum::Router::new().route("/schemas/ids/{id}", get(schema)).route("/subjects/{subject}/versions", post(register)).with_state(shared);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, away }
    }

    /// Whether it is away: a proxy in front then answers 503.
    pub fn away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }
}

struct Known {
    schemas: BTreeMap<u32, String>,
    away: Arc<AtomicBool>,
}

/// A double, and the client that asks it.
pub struct Registry {
    /// What the engine holds of it.
    pub cache: SchemaCache,
    shutdown: CancellationToken,
}

impl Registry {
    /// Knows these schemas by their ids and no others.
    pub async fn with(schemas: &[(u32, String)]) -> Self {
        let url = Double::with(schemas).await.url;
        let settings = registry::Settings { url, credentials_file: None, ca_file: None, timeout: Duration::from_secs(5) };
        let (cache, client) = registry::open(settings).await.unwrap();
        let shutdown = CancellationToken::new();
        tokio::spawn(client.run(shutdown.clone()));
        Self { cache, shutdown }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn schema(State(known): State<Arc<Known>>, Path(id): Path<u32>) -> Response {
    if known.away.load(Ordering::Relaxed) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    match known.schemas.get(&id) {
        Some(schema) => Json(json!({ "schema": schema })).into_response(),
        None => (StatusCode::NOT_FOUND, Json(json!({ "error_code": 40403, "message": "Schema not found" }))).into_response(),
    }
}

async fn register(State(known): State<Arc<Known>>) -> Response {
    if known.away.load(Ordering::Relaxed) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    Json(json!({ "id": 900 })).into_response()
}
