//! The registry's client alone.

use crate::apicurio::{Apicurio, until};
use recado::event::input::{Schemas, WriterSchema};
use recado::event::records::STATUS_SCHEMA;
use recado::event::registry::RegistryError;
use serde_json::json;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_registered_once_fetched_by_id_and_refused_where_they_break_readers() {
    let registry = Apicurio::start().await;
    let (cache, client) = registry.client().await;
    let status = client.register("recado.status-value", STATUS_SCHEMA).await.unwrap();
    assert_eq!(client.register("recado.status-value", STATUS_SCHEMA).await, Ok(status), "the same schema has the same id");
    let parse = |text: &str| apache_avro::Schema::parse_str(text).unwrap().canonical_form();
    assert_eq!(parse(&registry.schema(status).await), parse(STATUS_SCHEMA), "it stands there as it was sent");

    registry.demand_compatibility("recado.status-value").await;
    let other = r#"{"type": "record", "name": "Status", "namespace": "recado.v1", "fields": [{"name": "colour", "type": "string"}]}"#;
    assert!(matches!(client.register("recado.status-value", other).await, Err(RegistryError::Refused { status: 409, .. })));
    assert!(matches!(client.register("recado.broken-value", "{\"type\": \"rec").await, Err(RegistryError::Refused { status: 422, .. })));
    let grown = STATUS_SCHEMA.trim_end().strip_suffix("\n  ]\n}").expect("the file ends so");
    let grown = format!("{grown},\n    {{\"name\": \"later\", \"type\": [\"null\", \"string\"], \"default\": null}}\n  ]\n}}");
    assert!(client.register("recado.status-value", &grown).await.is_ok_and(|id| id != status), "a field with a default breaks nobody");

    let shutdown = CancellationToken::new();
    let running = tokio::spawn(client.run(shutdown.clone()));
    let pix = registry.put_pix("pix").await;
    let unknown = 999_999;
    for id in [status, pix, unknown] {
        assert!(matches!(cache.writer(id), WriterSchema::Missing), "nobody waits for the registry");
    }
    until("the schemas come", async || matches!((cache.writer(status), cache.writer(pix)), (WriterSchema::Known(_), WriterSchema::Known(_)))).await;
    until("the unknown id is known to be unknown", async || matches!(cache.writer(unknown), WriterSchema::Unknown)).await;
    assert!(!cache.away());
    shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_was_killed_is_away_and_not_ignorant_and_comes_back() {
    let mut registry = Apicurio::start().await;
    let (cache, client) = registry.client().await;
    let plain = json!({ "type": "record", "name": "Plain", "fields": [{ "name": "a", "type": "string" }] });
    let (before, after) = (registry.put("plain-value", &plain, json!([])).await, registry.put_pix("pix").await);
    let shutdown = CancellationToken::new();
    let (other_cache, other) = registry.client().await;
    let running = tokio::spawn(client.run(shutdown.clone()));
    cache.writer(before);
    until("the first schema comes", async || matches!(cache.writer(before), WriterSchema::Known(_))).await;

    registry.kill();
    assert!(matches!(other.register("recado.status-value", STATUS_SCHEMA).await, Err(RegistryError::Away(_))));
    assert!(other_cache.away());
    assert!(matches!(cache.writer(after), WriterSchema::Missing));
    until("its absence is noticed", async || cache.away()).await;
    assert!(matches!(cache.writer(before), WriterSchema::Known(_)), "what is known stays known");

    registry.again().await;
    until("the second schema comes", async || matches!(cache.writer(after), WriterSchema::Known(_))).await;
    assert!(!cache.away());
    shutdown.cancel();
    running.await.unwrap();
}
