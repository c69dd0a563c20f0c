//! A bank's own records, which share no name with ours: read by configuration alone, in Avro and in JSON.

use super::*;

/// As a Brazilian bank's platform team might have written it, years ago.
const SCHEMA: &str = r#"{
  "type": "record", "name": "EventoMovimentacao", "namespace": "br.com.bancoexemplo.nucleo",
  "fields": [
    {"name": "cabecalho", "type": {"type": "record", "name": "Cabecalho", "fields": [
      {"name": "identificador", "type": {"type": "string", "avro.java.string": "String"}},
      {"name": "versao", "type": "int"},
      {"name": "instante", "type": {"type": "long", "logicalType": "timestamp-micros"}}]}},
    {"name": "titular", "type": ["null", {"type": "record", "name": "Pessoa", "fields": [
      {"name": "codigo", "type": "long"},
      {"name": "contatos", "type": {"type": "map", "values": ["null", "string"]}},
      {"name": "nascimento", "type": ["null", {"type": "int", "logicalType": "date"}], "default": null},
      {"name": "senha", "type": ["null", "string"], "default": null, "recado.class": "secret"}]}], "default": null},
    {"name": "lancamento", "type": [
      {"type": "record", "name": "Credito", "fields": [
        {"name": "valor", "type": {"type": "fixed", "name": "Dinheiro", "size": 9, "logicalType": "decimal", "precision": 20, "scale": 4}},
        {"name": "pagador", "type": "Pessoa"},
        {"name": "historico", "type": "string"}]},
      {"type": "record", "name": "Debito", "fields": [
        {"name": "tarifas", "type": {"type": "array", "items": "Dinheiro"}},
        {"name": "historico", "type": ["string", "null"]},
        {"name": "valor", "type": ["null", "Dinheiro"]}]},
      "null"]},
    {"name": "canal", "type": {"type": "enum", "name": "Canal", "symbols": ["AGENCIA", "APLICATIVO", "LOTE"]}},
    {"name": "estornado", "type": "boolean"},
    {"name": "vencimento", "type": ["null", "long"]},
    {"name": "saldo_centavos", "type": "long"}
  ]}"#;

const FILE: &str = r#"
[input]
name = "movimentacoes"
topic = "nucleo.movimentacoes"
lane = "express"
schema = "nucleo/EventoMovimentacao.avsc"
start = "2025-11-25T00:00:00Z"
key_class = "personal"
event_id = "cabecalho.identificador"
customer = "titular.codigo"
phone = "titular.contatos.celular"
zone = { path = "titular.contatos.fuso", class = "public" }
expires_at = { path = "vencimento", class = "public", unit = "seconds" }

[input.classes]
"canal" = "public"
"estornado" = "public"

[input.fields]
amount = { path = "lancamento.valor", class = "amount" }
occurred_at = { path = "cabecalho.instante", class = "public" }
note = { path = "lancamento.historico", class = "free_text" }
birthday = { path = "titular.nascimento", class = "public" }
balance = { path = "saldo_centavos", class = "balance", unit = "centavos" }
version = { path = "cabecalho.versao", class = "public" }

[[route]]
name = "nucleo.credito"
when = [
  { field = "canal", one_of = ["AGENCIA", "APLICATIVO"] },
  { field = "estornado", equals = false },
  { field = "lancamento.pagador.codigo", exists = true, class = "reference" },
]
expiry = "10m"
steps = [{ channel = "whatsapp", template = "pix_recebido", wait = "33s" }, { channel = "sms", template = "pix_recebido" }]

[[route]]
name = "nucleo.debito"
when = [{ field = "lancamento", exists = true, class = "public" }, { field = "lancamento.pagador.codigo", exists = false, class = "reference" }]
expiry = "10m"
steps = [{ channel = "sms", template = "pix_enviado" }]
"#;

pub(super) const JSON: &str = r#"
[input]
name = "json"
topic = "nucleo.json"
lane = "express"
format = "json"
key_class = "reference"
event_id = "id"
customer = "cliente.codigo"
phone = "cliente.celular"

[input.fields]
amount = { path = "valor", class = "amount", unit = "reais" }
occurred_at = { path = "quando", class = "public", kind = "time" }
due_date = { path = "vencimento", class = "public", kind = "date" }
payer_name = { path = "pagador.nome", class = "name" }

[[route]]
name = "json.credito"
when = [{ field = "tipo", equals = "C", class = "public" }]
expiry = "10m"
steps = [{ channel = "sms", template = "pix_recebido" }]
"#;

fn inputs() -> Inputs {
    compile(&[("routes/nucleo.toml", FILE)], &BTreeMap::from([("nucleo/EventoMovimentacao.avsc".to_owned(), SCHEMA.to_owned())])).unwrap().0
}

fn person(number: i64) -> Avro {
    record(vec![
        ("codigo", Avro::Long(number)),
        (
            "contatos",
            Avro::Map(
                [("celular", "11 98765-4321"), ("fixo", "1133334444"), ("fuso", "America/Rio_Branco")]
                    .map(|(key, value)| (key.to_owned(), some(text(value))))
                    .into_iter()
                    .collect(),
            ),
        ),
        ("nascimento", some(Avro::Date(0))),
        ("senha", some(text("hunter2hunter2"))),
    ])
}

fn money(unscaled: i64) -> Avro {
    let wide = i128::from(unscaled).to_be_bytes();
    Avro::Decimal(wide[7..].into())
}

fn event(movement: Avro) -> Avro {
    let header = record(vec![("identificador", text("MOV-77")), ("versao", Avro::Int(3)), ("instante", Avro::TimestampMicros(1_764_072_000_123_456))]);
    record(vec![
        ("cabecalho", header),
        ("titular", some(person(815))),
        ("lancamento", movement),
        ("canal", Avro::Enum(1, "APLICATIVO".to_owned())),
        ("estornado", Avro::Boolean(false)),
        ("vencimento", some(Avro::Long(1_764_072_600))),
        ("saldo_centavos", Avro::Long(1_000_001)),
    ])
}

fn some_note() -> Avro {
    Avro::Union(0, Box::new(text("conta de luz")))
}

fn credit() -> Avro {
    Avro::Union(0, Box::new(record(vec![("valor", money(12_345_600)), ("pagador", person(99)), ("historico", text("aluguel"))])))
}

#[test]
fn a_banks_own_schema_is_routed_by_configuration_alone() {
    let inputs = inputs();
    let input = &inputs.inputs()[0];
    assert!(input.key_personal);
    assert_eq!(input.start, Start::At(Timestamp::from_millis(1_764_028_800_000)));
    let made = notification(decode(&inputs, 0, &confluent(3, &datum(SCHEMA, event(credit()))), &NoRegistry));
    assert_eq!(&*made.route_name, "nucleo.credito");
    assert_eq!(clear(&made.customer), "815");
    assert_eq!(made.event_id.as_deref(), Some("MOV-77"));
    assert_eq!(made.payload.phone.as_ref().map(|phone| phone.e164().to_owned()).as_deref(), Some("+5511987654321"));
    assert_eq!(made.payload.zone.as_deref(), Some("America/Rio_Branco"));
    assert_eq!(made.expires_at, Some(Timestamp::from_millis(1_764_072_600_000)));
    let values: Vec<_> = made.payload.values.keys().map(|name| shown(&made, name).unwrap()).collect();
    assert_eq!(
        values,
        ["amount: 123456 centavos", "balance: 1000001 centavos", "public: 1970-1-1", "free_text: aluguel", "public: 1764072000123 ms", "public: 3",]
    );
    assert!(!format!("{made:?}").contains("hunter2"));
}

#[test]
fn each_branch_of_a_union_of_records_is_read_by_its_own_fields() {
    let inputs = inputs();
    let debit = |note: Avro, value: Avro| {
        Avro::Union(1, Box::new(record(vec![("tarifas", Avro::Array(vec![money(1), money(2)])), ("historico", note), ("valor", value)])))
    };
    let made =
        notification(decode(&inputs, 0, &confluent(3, &datum(SCHEMA, event(debit(Avro::Union(1, Box::new(Avro::Null)), some(money(50_000)))))), &NoRegistry));
    assert_eq!(&*made.route_name, "nucleo.debito");
    assert_eq!(shown(&made, "amount").as_deref(), Some("amount: 500 centavos"));
    assert_eq!(shown(&made, "note"), None);
    let in_blocks = datum_in_blocks(SCHEMA, event(debit(some_note(), some(money(50_000)))));
    let made = notification(decode(&inputs, 0, &confluent(3, &in_blocks), &NoRegistry));
    assert_eq!(shown(&made, "note").as_deref(), Some("free_text: conta de luz"));
    assert_eq!(made.payload.zone.as_deref(), Some("America/Rio_Branco"), "a map in three blocks");
    let nothing = decode(&inputs, 0, &confluent(3, &datum(SCHEMA, event(Avro::Union(2, Box::new(Avro::Null))))), &NoRegistry);
    assert!(matches!(nothing, Decoded::Ignored(IgnoredWhy::NoRoute)), "{nothing:?}");
}

#[test]
fn fields_that_nobody_gave_a_class_are_told_with_each_notification() {
    let unclassed = |file: &str| {
        let schemas = BTreeMap::from([("nucleo/EventoMovimentacao.avsc".to_owned(), SCHEMA.to_owned())]);
        let inputs = compile(&[("routes/nucleo.toml", file)], &schemas).unwrap().0;
        notification(decode(&inputs, 0, &confluent(3, &datum(SCHEMA, event(credit()))), &NoRegistry)).unclassed
    };
    assert_eq!(unclassed(FILE), 1, "the fees; the password has a class, and what the file names has one there");
    assert_eq!(unclassed(&FILE.replace("[input.classes]\n", "[input.classes]\n\"lancamento.tarifas\" = \"public\"\n")), 0);
    let wider = PIX_SCHEMA.replacen("\"fields\": [", "\"fields\": [{\"name\": \"new\", \"type\": \"string\"},", 1);
    let value = record([("new", text("x"))].into_iter().chain(pix()).collect());
    let registry = Known::default().with(7, PIX_SCHEMA).with(8, &wider);
    let of = |id: u32, datum: Vec<u8>| notification(decode(&one(PIX), 0, &confluent(id, &datum), &registry)).unclassed;
    assert_eq!((of(7, datum(PIX_SCHEMA, record(pix()))), of(8, datum(&wider, value))), (0, 1), "a field that came later");
}

#[test]
fn a_tenth_of_a_centavo_is_dead() {
    let inputs = inputs();
    let movement = Avro::Union(0, Box::new(record(vec![("valor", money(12_345_610)), ("pagador", person(99)), ("historico", text(""))])));
    assert_eq!(dead(&decode(&inputs, 0, &confluent(3, &datum(SCHEMA, event(movement))), &NoRegistry)), Some(DeadReason::AmountShape));
}

#[test]
fn json_reads_by_the_same_paths() {
    let inputs = one(JSON);
    let value = r#"{"tipo": "C", "outro": [1, {"x": null}], "cliente": {"celular": "+55 11 98765-4321", "codigo": 7}, "id": "J-\u0031",
        "valor": 1234.56, "quando": "2025-11-25T09:00:00-03:00", "vencimento": "2026-12-13", "pagador": {"nome": "Jo\u00e3o \"J\" Silva"}}"#;
    for bytes in [value.as_bytes().to_vec(), confluent(9, value.as_bytes())] {
        let made = notification(decode(&inputs, 0, &bytes, &NoRegistry));
        assert_eq!(clear(&made.customer), "7");
        assert_eq!(made.event_id.as_deref(), Some("J-1"));
        assert_eq!(shown(&made, "amount").as_deref(), Some("amount: 123456 centavos"));
        assert_eq!(shown(&made, "occurred_at").as_deref(), Some("public: 1764072000000 ms"));
        assert_eq!(shown(&made, "due_date").as_deref(), Some("public: 2026-12-13"));
        assert_eq!(shown(&made, "payer_name").as_deref(), Some("name: João \"J\" Silva"));
        assert_eq!(made.obstacle, None);
    }
}

#[test]
fn a_text_with_a_thousands_point_is_no_amount() {
    let made = |unit: &str, valor: &str| {
        let value = format!(r#"{{"tipo": "C", "cliente": {{"codigo": "7"}}, "valor": {valor}}}"#);
        let decoded = decode(&one(&JSON.replace("unit = \"reais\"", &format!("unit = \"{unit}\""))), 0, value.as_bytes(), &NoRegistry);
        if let Some(reason) = dead(&decoded) { Err(reason) } else { Ok(shown(&notification(decoded), "amount").unwrap()) }
    };
    // R$ 1.500,00 as a Brazilian writes it is not R$ 1,50.
    for (unit, text) in [("reais", "\"1.500\""), ("reais", "\"150.000\""), ("reais", "\"0.000\""), ("centavos", "\"150.000\""), ("centavos", "\"150.0\"")] {
        assert_eq!(made(unit, text), Err(DeadReason::AmountShape), "{text} {unit}");
    }
    for (unit, read, centavos) in [
        ("reais", "\"1500\"", 150_000),
        ("reais", "\"1500.0\"", 150_000),
        ("reais", "\"1500.00\"", 150_000),
        ("reais", "\"1.5\"", 150),
        ("centavos", "\"150000\"", 150_000),
        // Numbers have no such point: what they say is what they are.
        ("reais", "1.500", 150),
        ("centavos", "150.000", 150),
        ("centavos", "150000", 150_000),
    ] {
        assert_eq!(made(unit, read), Ok(format!("amount: {centavos} centavos")), "{read} {unit}");
    }
}

#[test]
fn json_that_cannot_be_used_has_its_reason() {
    let inputs = one(JSON);
    let reason = |value: &[u8]| dead(&decode(&inputs, 0, value, &NoRegistry));
    let with = |valor: &str| format!(r#"{{"tipo": "C", "cliente": {{"codigo": "7"}}, "valor": {valor}}}"#);
    assert_eq!(reason(with("12").as_bytes()), None);
    assert_eq!(reason(with("\"12.30\"").as_bytes()), None);
    assert_eq!(reason(with("-0.01").as_bytes()), Some(DeadReason::NegativeAmount));
    assert_eq!(reason(with("0.001").as_bytes()), Some(DeadReason::AmountShape));
    assert_eq!(reason(with("1e300").as_bytes()), Some(DeadReason::AmountShape));
    assert_eq!(reason(with("\"1.234,56\"").as_bytes()), Some(DeadReason::AmountShape));
    assert_eq!(reason(with("99999999999999999999").as_bytes()), Some(DeadReason::AmountShape));
    assert_eq!(reason(with("{}").as_bytes()), Some(DeadReason::FieldShape));
    assert_eq!(reason(b"{\"tipo\": \"C\""), Some(DeadReason::Truncated));
    assert_eq!(reason(b""), Some(DeadReason::Truncated));
    assert_eq!(reason(b"[]"), Some(DeadReason::NotJson));
    assert_eq!(reason(b"{\"tipo\": nul}"), Some(DeadReason::NotJson));
    assert_eq!(reason(b"{\"tipo\": \"\xff\"}"), Some(DeadReason::InvalidUtf8));
    assert_eq!(reason(b"{} {}"), Some(DeadReason::Trailing));
    assert_eq!(reason(br#"{"tipo": "C", "cliente": {}}"#), Some(DeadReason::MissingCustomer));
    let deep = [b"{\"x\": ".as_slice(), &vec![b'['; 200_000]].concat();
    assert_eq!(reason(&deep), Some(DeadReason::Truncated), "what is stepped over may be of any depth");
}
