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
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A double under way, and the client that asks it.
pub struct Registry {
    /// What the engine holds of it.
    pub cache: SchemaCache,
    shutdown: CancellationToken,
}

impl Registry {
    /// Knows these schemas by their ids and no others.
    pub async fn with(schemas: &[(u32, String)]) -> Self {
        let known: Arc<BTreeMap<u32, String>> = Arc::new(schemas.iter().cloned().collect());
        let routes = axum::Router::new()
            .route("/schemas/ids/{id}", get(schema))
            .route("/subjects/{subject}/versions", post(|| async { Json(json!({ "id": 900 })) }))
            .with_state(known);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
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

async fn schema(State(known): State<Arc<BTreeMap<u32, String>>>, Path(id): Path<u32>) -> Response {
    match known.get(&id) {
        Some(schema) => Json(json!({ "schema": schema })).into_response(),
        None => (StatusCode::NOT_FOUND, Json(json!({ "error_code": 40403, "message": "Schema not found" }))).into_response(),
    }
}
