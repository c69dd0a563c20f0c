//! A bank keeps its schemas: one that shares no field name with ours is routed by configuration alone, and arrives masked.

use crate::bank;
use crate::process::{More, Stage};
use crate::rig::{statuses, words};
use crate::support::{self, Writer};
use apache_avro::Decimal;
use apache_avro::types::Value;
use rdkafka::Message;
use recado::delivery::StatusWord;
use recado::simulator::{self, Phone};

/// Nested records, unions with null, a map, an array, decimal and timestamp-micros; no class anywhere.
const SCHEMA: &str = r#"{
  "type": "record", "name": "LancamentoEfetivado", "namespace": "br.com.bancoinventado.nucleo", "fields": [
    { "name": "cabecalho", "type": { "type": "record", "name": "Cabecalho", "fields": [
      { "name": "uuid_mensagem", "type": { "type": "string", "logicalType": "uuid" } },
      { "name": "etiquetas", "type": { "type": "array", "items": "string" } },
      { "name": "atributos", "type": { "type": "map", "values": "string" } }
    ] } },
    { "name": "titular", "type": ["null", { "type": "record", "name": "Titular", "fields": [
      { "name": "matricula", "type": "long" },
      { "name": "contatos", "type": { "type": "record", "name": "Contatos", "fields": [
        { "name": "celular", "type": ["null", "string"] },
        { "name": "correio", "type": ["null", "string"] }
      ] } }
    ] }] },
    { "name": "lancamento", "type": { "type": "record", "name": "Lancamento", "fields": [
      { "name": "natureza", "type": { "type": "enum", "name": "Natureza", "symbols": ["DEBITO", "CREDITO"] } },
      { "name": "valor", "type": ["null", { "type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 4 }] },
      { "name": "efetivado", "type": { "type": "long", "logicalType": "timestamp-micros" } },
      { "name": "favorecido", "type": ["null", { "type": "record", "name": "Favorecido", "fields": [
        { "name": "nome_completo", "type": "string" },
        { "name": "documento", "type": ["string", "null"] },
        { "name": "conta", "type": "string" }
      ] }] }
    ] } }
  ] }"#;

/// Everything that Recado is told of it. The record key is the customer's CPF.
const ROUTE: &str = r#"
[input]
name = "lancamentos"
topic = "nucleo.lancamentos-efetivados"
lane = "express"
schema = "schemas/lancamento.avsc"
key_class = "personal"
event_id = "cabecalho.uuid_mensagem"
customer = "titular.matricula"
phone = "titular.contatos.celular"

[input.classes]
"lancamento.natureza" = "public"
"lancamento.efetivado" = "public"

[input.fields]
valor = { path = "lancamento.valor", class = "amount" }
quando = { path = "lancamento.efetivado" }
nome = { path = "lancamento.favorecido.nome_completo", class = "name" }
documento = { path = "lancamento.favorecido.documento", class = "cpf" }
conta = { path = "lancamento.favorecido.conta", class = "account" }

[[route]]
name = "lancamento.debito"
when = [{ field = "lancamento.natureza", equals = "DEBITO" }]
expiry = "10m"

[[route.steps]]
channel = "whatsapp"
template = "lancamento"
wait = "33s"

[[route.steps]]
channel = "sms"
template = "lancamento"
"#;

const TEMPLATE: &str = r#"
name = "lancamento"

[whatsapp]
name = "lancamento_30s"
language = "pt_BR"
category = "UTILITY"
ttl = "30s"
body = "Saiu {{1}} para {{2}} ({{3}}, conta {{4}}) em {{5}}. Não foi você? Abra o aplicativo."
parameters = ["{{ valor }}", "{{ nome }}", "{{ documento }}", "{{ conta }}", "{{ quando }}"]
approved_sha256 = "APPROVED"

[sms]
text = "{{ bank }}: saiu {{ valor }} para {{ nome }} ({{ documento }}, conta {{ conta }}) em {{ quando }}. Nao foi voce? Ligue {{ contact }}."
"#;

/// Of an invented customer.
const KEY: &[u8] = b"52998224725";

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_shares_no_field_name_with_ours_is_routed_by_configuration_alone_and_arrives_masked() {
    let mut settings = simulator::Settings::default();
    settings.script.phones.insert("5521987654321".into(), Phone::named("undeliverable", "quick", "quick").unwrap());
    let body = TEMPLATE.split("body = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body.as_bytes());
    let more = More {
        files: vec![
            ("routes/lancamentos.toml", ROUTE.into()),
            ("templates/lancamento.toml", TEMPLATE.replace("APPROVED", &hex::encode(digest))),
            ("schemas/lancamento.avsc", SCHEMA.into()),
        ],
        // Two partitions where ours have three.
        inputs: vec![("nucleo.lancamentos-efetivados".into(), 2)],
        ..More::default()
    };
    let stage = Stage::with("own", 3, settings, more).await;
    let mut instance = stage.start(&stage.config("a", stage.gateway_port, ""), "engine,dispatcher,gateway");
    instance.ready().await;

    let writer = Writer::new();
    let topic = stage.input("nucleo.lancamentos-efetivados");
    // A credit: no route is meant for it.
    writer.send(&topic, 1, KEY, &bank::framed(1, &bank::datum(SCHEMA, entry("CREDITO"))));
    writer.send(&topic, 1, KEY, &bank::framed(1, &bank::datum(SCHEMA, entry("DEBITO"))));
    writer.flush();
    let mut told = stage.statuses();
    told.until("delivered", |read| words(read).contains(&StatusWord::Delivered));

    let calls: Vec<_> = stage.send_log().into_iter().filter_map(|line| if let simulator::Line::Call(call) = line { Some(call) } else { None }).collect();
    let texts: Vec<_> = calls.iter().map(|call| (call.channel, call.to.as_str(), call.text.as_deref().unwrap())).collect();
    // 12345678.9000 at 2026-03-10T02:30:00Z, which is the day before in Rio. An SMS is written in the letters of its alphabet.
    assert_eq!(
        texts,
        [
            (simulator::Channel::Whatsapp, "5521987654321", "R$ 12.345.678,90\nTomás A.\n***.444.777-**\n****67-8\n09/03/2026 às 23:30"),
            (
                simulator::Channel::Sms,
                "5521987654321",
                "Banco Exemplo: saiu R$ 12.345.678,90 para Tomas A. (***.444.777-**, conta ****67-8) em 09/03/2026 as 23:30. \
                 Nao foi voce? Ligue 0800 000 0000."
            ),
        ]
    );
    for message in &told.read {
        assert_ne!(message.key(), Some(KEY), "a key that names a person does not stand in the statuses");
        assert!(!support::value(message).windows(KEY.len()).any(|part| part == KEY));
    }
    let statuses = statuses(&told.read);
    assert!(statuses.iter().all(|status| status.route == "lancamento.debito"));
    assert_eq!(statuses[0].event_id.as_deref(), Some("7f8c1d9e-6d0b-4a53-9a35-0b8f6f1c2d3e"));
    assert_eq!(statuses[0].source.as_ref().map(|source| (source.topic.as_str(), source.partition.0, source.offset)), Some((topic.as_str(), 1, 1)));
    instance.stop();
}

fn entry(nature: &str) -> Value {
    let some = |value: Value| Value::Union(1, Box::new(value));
    let text = |text: &str| Value::String(text.into());
    let header = Value::Record(vec![
        ("uuid_mensagem".into(), Value::Uuid("7f8c1d9e-6d0b-4a53-9a35-0b8f6f1c2d3e".parse().unwrap())),
        ("etiquetas".into(), Value::Array(vec![text("pix"), text("noturno")])),
        ("atributos".into(), Value::Map([("canal".to_owned(), text("aplicativo"))].into())),
    ]);
    let contacts = Value::Record(vec![("celular".into(), some(text("(21) 98765-4321"))), ("correio".into(), some(text("ana@exemplo.com.br")))]);
    let holder = Value::Record(vec![("matricula".into(), Value::Long(900_719_925)), ("contatos".into(), contacts)]);
    let payee = Value::Record(vec![
        ("nome_completo".into(), text("Tomás de Aquino Alves")),
        ("documento".into(), Value::Union(0, Box::new(text("111.444.777-35")))),
        ("conta".into(), text("1234567-8")),
    ]);
    let posting = Value::Record(vec![
        ("natureza".into(), Value::Enum(u32::from(nature == "CREDITO"), nature.into())),
        ("valor".into(), some(Value::Decimal(Decimal::from(123_456_789_000_i64.to_be_bytes())))),
        ("efetivado".into(), Value::TimestampMicros(1_773_109_800_000_000)),
        ("favorecido".into(), some(payee)),
    ]);
    Value::Record(vec![("cabecalho".into(), header), ("titular".into(), some(holder)), ("lancamento".into(), posting)])
}
