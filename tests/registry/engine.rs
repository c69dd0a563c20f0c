//! The engine on real Kafka with schemas from the registry.

use crate::apicurio::{Apicurio, own_pix};
use crate::bank::{Pix, datum, framed};
use crate::rig::{World, dispatches};
use crate::support::{Reader, Writer, value};
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use rdkafka::message::{Headers, Message};
use recado::event::records::{Framing, STATUS_SCHEMA};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn records_are_read_by_the_banks_schema_and_statuses_written_with_ours_also_after_the_registry_was_away() {
    let mut registry = Apicurio::start().await;
    let mut world = World::new("registry", 2).await;
    let topic = world.input("pix.transactions");
    let (cache, client) = registry.client().await;
    let status_id = client.register(&format!("{}-value", world.topics.status), STATUS_SCHEMA).await.unwrap();
    let pix_id = registry.put_pix(&topic).await;
    (world.schemas, world.framing) = (Arc::new(cache), Framing::Confluent(status_id));
    let shutdown = CancellationToken::new();
    let asking = tokio::spawn(client.run(shutdown.clone()));

    let engine = world.engine(world.settings("a"));
    world.wait_for_start(&engine);
    let writer = Writer::new();
    let mut sent = world.dispatches();

    // Away with an id that is not cached: the partition waits. It is no dead letter.
    registry.kill();
    writer.send(&topic, 0, b"customer-1", &framed(pix_id, &own("while-away")));
    let mut dead = Reader::new(&[(&world.topics.dead_letters, world.partitions)]);
    // The other partition's record needs no schema of the registry: it passes.
    writer.send(&world.input("billing.invoices"), 1, b"customer-2", b"\x01nonsense");
    dead.until("the record of the other partition", |read| read.len() == 1);
    assert_eq!(reason(&dead, 0), "wrong_magic");
    assert_eq!(sent.read.len(), 0);
    registry.again().await;
    sent.until("the dispatch of the record that waited", |read| read.len() == 1);

    writer.send(&topic, 1, b"customer-1", &framed(pix_id, &own("with-the-registry")));
    sent.until("a second dispatch", |read| read.len() == 2);
    assert!(dispatches(&sent.read).iter().all(|dispatch| dispatch.template == "pix_recebido"));

    // An id that the registry does not know is a dead letter.
    writer.send(&topic, 1, b"customer-1", &framed(999_999, &own("unknown-id")));
    dead.until("the record of an unknown id", |read| read.len() == 2);
    assert_eq!(reason(&dead, 1), "unknown_schema");

    // The bank reads statuses as any program of the Confluent world does: by the id in the record.
    let mut told = world.statuses();
    told.until("both statuses", |read| read.len() == 2);
    let mut events = Vec::new();
    for message in &told.read {
        let (header, body) = value(message).split_first_chunk::<5>().unwrap();
        assert_eq!((header[0], u32::from_be_bytes([header[1], header[2], header[3], header[4]])), (0, status_id));
        let schema = Schema::parse_str(&registry.schema(status_id).await).unwrap();
        let status = GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut &*body).unwrap();
        let Value::Record(fields) = status else { panic!("a status is a record") };
        let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone()).unwrap();
        assert_eq!(field("status"), Value::Enum(0, "requested".into()));
        let Value::Union(_, event_id) = field("event_id") else { panic!("it may be null") };
        events.push(*event_id);
    }
    events.sort_by_key(|event| format!("{event:?}"));
    assert_eq!(events, ["while-away", "with-the-registry"].map(|event| Value::String(event.into())));

    engine.stop();
    shutdown.cancel();
    asking.await.unwrap();
}

/// A record by the bank's own schema.
fn own(event_id: &str) -> Vec<u8> {
    let Value::Record(mut fields) = (Pix { event_id, ..Pix::default() }).value() else { unreachable!("it is a record") };
    fields.insert(0, ("ledger".into(), Value::String("conta corrente".into())));
    datum(&own_pix().to_string(), Value::Record(fields))
}

fn reason(dead: &Reader, at: usize) -> String {
    let headers = dead.read[at].headers().unwrap();
    let reason = headers.iter().find(|header| header.key == "recado.reason").and_then(|header| header.value).unwrap();
    String::from_utf8(reason.to_vec()).unwrap()
}
