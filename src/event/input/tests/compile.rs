//! What `recado check` says about route files.

use super::*;
use crate::delivery::{self, Step};

/// The faults of one file after an edit, as lines.
fn faults(file: &str, from: &str, to: &str) -> Vec<String> {
    assert!(file.contains(from), "`{from}` is not in the file");
    match compile(&[("routes/x.toml", &file.replacen(from, to, 1))], &schemas()) {
        Ok((_, warnings)) => warnings.iter().map(ToString::to_string).collect(),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

/// The edit has exactly one fault, at this key, and its sentence has these words.
fn refused(file: &str, from: &str, to: &str, key: &str, words: &str) {
    let found = faults(file, from, to);
    assert_eq!(found.len(), 1, "{from} → {to}: {found:#?}");
    assert!(found[0].starts_with(&format!("error: routes/x.toml: {key}: ")), "{}", found[0]);
    assert!(found[0].contains(words) && found[0].ends_with('.'), "{}", found[0]);
}

#[test]
fn the_reference_files_have_no_fault_and_no_warning() {
    let files = [("routes/pix.toml", PIX), ("routes/codes.toml", CODES), ("routes/bills.toml", BILLS)];
    let (inputs, warnings) = compile(&files, &schemas()).unwrap();
    assert_eq!(warnings, []);
    let names: Vec<_> = inputs.inputs().iter().map(|input| (input.name.as_str(), input.kind, input.lane)).collect();
    assert_eq!(
        names,
        [
            ("pix", Kind::Events, Lane::Express),
            ("codes", Kind::Events, Lane::Express),
            ("codes.cancel", Kind::Cancel { of: 1 }, Lane::Express),
            ("bills", Kind::Events, Lane::Bulk),
        ]
    );
    let codes = &inputs.inputs()[1];
    assert!(codes.has_cancel && codes.has_code && !codes.key_personal);
    assert_eq!(codes.expiry_max, Duration::from_secs(300));
    let routes: Vec<_> = inputs.routes().iter().map(|route| (&*route.name, route.input, route.expiry.as_secs(), route.route.steps.len())).collect();
    assert_eq!(routes, [("pix.received", 0, 900, 2), ("pix.sent", 0, 900, 3), ("code", 1, 300, 3), ("bill", 3, 86_400, 2)]);
    assert_eq!(inputs.template_uses().len(), 10);
    assert_eq!(inputs.template_uses()[0].key, "route.0.steps.0.template");
    let parameters: Vec<_> = inputs.parameters(0).map(|(name, class, kind)| (name, class.word(), kind)).collect();
    assert!(parameters.contains(&("amount", "amount", FieldKind::Amount(None))) && parameters.contains(&("occurred_at", "public", FieldKind::Time(None))));
    let named: Vec<_> = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    assert_eq!(Inputs::schema_files(&named), schemas().into_keys().collect());
}

#[test]
fn every_field_of_the_reference_schemas_has_a_class() {
    fn check(json: &serde_json::Value, faults: &mut Vec<String>) {
        for field in json.get("fields").and_then(|fields| fields.as_array()).into_iter().flatten() {
            let class = field.get("recado.class").and_then(|class| class.as_str()).unwrap_or("none");
            if Class::from_word(class).is_none() {
                faults.push(format!("{} has class {class}", field["name"]));
            }
            check(&field["type"], faults);
        }
    }
    for (name, text) in schemas() {
        apache_avro::Schema::parse_str(&text).unwrap();
        let mut faults = Vec::new();
        check(&serde_json::from_str(&text).unwrap(), &mut faults);
        assert_eq!(faults, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn words_that_do_not_exist_are_named() {
    refused(PIX, "lane = \"express\"", "lane = \"fast\"", "input.lane", "`fast`");
    refused(PIX, "format = \"avro\"", "format = \"protobuf\"", "input.format", "`protobuf`");
    refused(PIX, "start = \"latest\"", "start = \"yesterday\"", "input.start", "`yesterday`");
    refused(PIX, "key_class = \"reference\"", "key_class = \"cpf\"", "input.key_class", "personal");
    refused(PIX, "on_unknown = \"give_up\"", "on_unknown = \"retry\"", "route.0.on_unknown", "`retry`");
    refused(PIX, "wait_for = \"delivered\"", "wait_for = \"read\"", "route.0.steps.0.wait_for", "`read`");
    refused(PIX, "channel = \"sms\"", "channel = \"pager\"", "route.0.steps.1.channel", "`pager`");
    refused(PIX, "amount = { path = \"amount\" }", "amount = { path = \"amount\", class = \"money\" }", "input.fields.amount", "classes money and amount");
    refused(PIX, "[input.fields]", "[input.classes]\nphone = \"telephone\"\n[input.fields]", "input.classes.phone", "`telephone`, which does not exist");
}

#[test]
fn what_cannot_be_read_names_the_key_and_what_is_no_toml_the_line() {
    assert_eq!(faults(PIX, "lane = \"express\"", "lane = "), ["error: routes/x.toml: Line 7 is no TOML."]);
    refused(PIX, "lane = \"express\"", "lane = \"express\"\nlanes = 2", "input.lanes", "no such option");
    refused(PIX, "expiry = \"15m\"", "expiry = \"soon\"", "route.0.expiry", "span of time");
    refused(PIX, "wait = \"33s\"", "wait = 33", "route.0.steps.0.wait", "span of time");
}

#[test]
fn all_values_of_one_file_that_cannot_be_read_are_told_at_once() {
    let text = PIX
        .replacen("lane = \"express\"", "lane = 5\nlanes = 2", 1)
        .replacen("key_class = \"reference\"", "", 1)
        .replacen("expiry = \"15m\"", "expiry = \"soon\"", 1)
        .replacen("wait = \"33s\"", "wait = 33", 1)
        .replacen("channel = \"sms\"", "channel = 7", 1);
    let found = compile(&[("routes/x.toml", &text)], &schemas()).map(|_| ()).unwrap_err();
    let keys: std::collections::BTreeSet<_> = found.iter().map(|fault| fault.key.as_str()).collect();
    let wanted = ["input.key_class", "input.lane", "input.lanes", "route.0.expiry", "route.0.steps.0.wait", "route.0.steps.1.channel"];
    assert_eq!(keys, wanted.into_iter().collect(), "{found:#?}");
    assert_eq!(found.len(), keys.len(), "each once: {found:#?}");
    let said = found.iter().map(ToString::to_string).collect::<String>();
    assert!(!said.contains("soon") && !said.contains("33"), "values are never quoted: {said}");
}

#[test]
fn paths_must_be_in_the_schema_and_fit() {
    refused(PIX, "customer = \"customer_id\"", "customer = \"client_id\"", "input.customer", "not in the schema");
    refused(PIX, "customer = \"customer_id\"", "customer = \"customer_id.\"", "input.customer", "names joined by single dots");
    refused(PIX, "customer = \"customer_id\"", "customer = \"note\"", "input.customer", "of class free_text");
    refused(PIX, "phone = \"phone\"", "phone = \"event_id\"", "input.phone", "of class reference; here it must be phone");
    refused(PIX, "event_id = \"event_id\"", "event_id = \"counterparty.document\"", "input.event_id", "of class cpf");
    refused(
        PIX,
        "institution = { path = \"counterparty.institution\" }",
        "institution = { path = \"counterparty\" }",
        "input.fields.institution",
        "a record, map or array",
    );
    refused(
        PIX,
        "occurred_at = { path = \"occurred_at\" }",
        "occurred_at = { path = \"occurred_at\", kind = \"date\" }",
        "input.fields.occurred_at",
        "is a timestamp",
    );
    refused(PIX, "occurred_at = { path = \"occurred_at\" }", "occurred_at = { path = \"end_to_end_id\" }", "input.fields.occurred_at", "no text may show");
    refused(PIX, "amount = { path = \"amount\" }", "amount = { path = \"amount\", kind = \"text\" }", "input.fields.amount", "kind amount");
    refused(PIX, "amount = { path = \"amount\" }", "amount = { path = \"amount\", unit = \"dollars\" }", "input.fields.amount.unit", "`dollars`");
    refused(PIX, "amount = { path = \"amount\" }", "Amount = { path = \"amount\" }", "input.fields.Amount", "lower-case");
    refused(PIX, "equals = \"RECEIVED\"", "equals = \"ARRIVED\"", "route.0.when.0", "RECEIVED, SENT");
    refused(PIX, "equals = \"RECEIVED\"", "equals = 1", "route.0.when.0", "whole number must be an int or a long");
    refused(PIX, "equals = \"RECEIVED\"", "equals = \"RECEIVED\", exists = true", "route.0.when.0", "exactly one of");
    refused(PIX, "field = \"direction\"", "field = \"way\"", "route.0.when.0", "not in the schema");
    refused(CODES, "purpose = { path = \"purpose\" }", "purpose = { path = \"code\" }", "input.fields.purpose", "second field of class otp");
}

#[test]
fn classes_are_needed_and_secrets_are_not_taken() {
    let mut all = schemas();
    let edit = |from: &str, to: &str| PIX_SCHEMA.replacen(from, to, 1);
    let mut found = |schema: String| {
        all.insert("schemas/pix_transaction.avsc".into(), schema);
        compile(&[("routes/x.toml", PIX)], &all).map(|_| ()).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let unclassed = found(edit(", \"recado.class\": \"amount\"", ""));
    assert!(unclassed.len() == 1 && unclassed[0].contains("input.fields.amount: names `amount`, which has no class"), "{unclassed:?}");
    let secret = found(edit("\"recado.class\": \"amount\"", "\"recado.class\": \"secret\""));
    assert!(secret.len() == 1 && secret[0].contains("whose class is secret"), "{secret:?}");
    let unknown = found(edit("\"recado.class\": \"amount\"", "\"recado.class\": \"money\""));
    assert!(unknown.len() == 1 && unknown[0].contains("class `money`"), "{unknown:?}");
    let recursive = found(r#"{"type": "record", "name": "R", "fields": [{"name": "next", "type": ["null", "R"]}]}"#.to_owned());
    assert!(recursive.len() == 1 && recursive[0].contains("`R` contains itself"), "{recursive:?}");
    let broken = found("{".to_owned());
    assert!(broken.len() == 1 && broken[0].contains("is not an Avro schema"), "{broken:?}");
}

#[test]
fn a_pattern_belongs_to_public_texts_and_numbers_and_tells_something() {
    let institution = "institution = { path = \"counterparty.institution\" }";
    let with = |pattern: &str| format!("institution = {{ path = \"counterparty.institution\", pattern = '{pattern}' }}");
    assert_eq!(faults(PIX, institution, &with("Banco [A-Z].{0,80}")), Vec::<String>::new());
    refused(PIX, institution, &with(".*"), "input.fields.institution.pattern", "fits almost anything");
    refused(PIX, institution, &with("[A-Z"), "input.fields.institution.pattern", "is no regular expression");
    for (field, path) in [("amount", "amount"), ("occurred_at", "occurred_at"), ("payer_name", "counterparty.name")] {
        let plain = format!("{field} = {{ path = \"{path}\" }}");
        let key = format!("input.fields.{field}.pattern");
        refused(PIX, &plain, &format!("{field} = {{ path = \"{path}\", pattern = '[0-9]+' }}"), &key, "only public texts and whole numbers");
    }
    refused(PIX, "customer = \"customer_id\"", "customer = { path = \"customer_id\", pattern = 'C-[0-9]+' }", "input.customer.pattern", "no meaning here");
    refused(CODES, "code = { path = \"code\" }", "code = { path = \"code\", pattern = '[0-9]{6}' }", "input.fields.code", "nor `pattern`");
    let mut all = schemas();
    all.insert("schemas/pix_transaction.avsc".into(), patterned_pix("Banco [A-Z].{0,80}"));
    assert!(compile(&[("routes/x.toml", PIX)], &all).is_ok(), "the schema says it");
    let other = PIX.replace(institution, &with("Coop.{0,80}"));
    let found = compile(&[("routes/x.toml", &other)], &all).map(|_| ()).unwrap_err();
    assert!(found.len() == 1 && found[0].sentence.contains("said twice"), "{found:?}");
    all.insert("schemas/pix_transaction.avsc".into(), patterned_pix(".*"));
    assert!(compile(&[("routes/x.toml", PIX)], &all).unwrap_err()[0].sentence.contains("fits almost anything"));
}

#[test]
fn codes_have_rules_of_their_own() {
    refused(CODES, "lane = \"express\"", "lane = \"bulk\"", "input.lane", "express only");
    refused(CODES, "expiry = \"5m\"", "expiry = \"11m\"", "route.0.expiry", "at most 10m, as the route carries codes");
    refused(CODES, "clear_codes_accepted_by = \"Ana Exemplo, 2026-11-25\"", "", "input.clear_codes_accepted_by", "is missing");
    refused(CODES, "Ana Exemplo, 2026-11-25", "Ana Exemplo", "input.clear_codes_accepted_by", "a name and a date");
    refused(PIX, "key_class =", "clear_codes_accepted_by = \"Ana, 2026-11-25\"\nkey_class =", "input.clear_codes_accepted_by", "no field of class otp");
    refused(CODES, "pstn = \"fallback\"", "", "route.0.pstn", "is missing");
    refused(CODES, "pstn = \"fallback\"", "pstn = \"always\"", "route.0.pstn", "can only be fallback");
    refused(CODES, "owner = \"Ana Exemplo, channel security\"", "owner = \" \"", "route.0.owner", "is missing");
    refused(PIX, "expiry = \"15m\"", "expiry = \"15m\"\npstn = \"fallback\"", "route.0.pstn", "no meaning");
    refused(CODES, "channel = \"whatsapp\"", "channel = \"sms\"", "route.0.steps.0.channel", "fallback only");
    refused(CODES, "code = { path = \"code\" }", "code = { path = \"code\", kind = \"integer\" }", "input.fields.code", "neither `kind` nor `unit`");
    refused(CODES, "event_id = \"challenge_id\"", "", "input.event_id", "a cancel names the event");
    refused(CODES, "topic = \"auth.codes-used\"", "topic = \"auth.challenges\"", "input.cancel.topic", "the input's own topic");
}

/// Whether a delivery of this one step begins with so much of its life left.
fn begins(step: &Step, route: &Route, left_ms: u64) -> bool {
    let (now, left) = (Timestamp::from_millis(1_764_072_000_000), Duration::from_millis(left_ms));
    let request = delivery::Request { route: Route { steps: vec![step.clone()], ..route.clone() }.into(), expiry: now.plus(left), obstacle: None };
    !delivery::request(request, now).0.ended()
}

#[test]
fn a_code_is_not_sent_with_too_little_life_left() {
    for (hurry, whatsapp_or_sms, voice) in [(1, 20_000, 45_000), (10, 2_000, 4_500)] {
        let files = [("routes/codes.toml".to_owned(), CODES.to_owned()), ("routes/pix.toml".to_owned(), PIX.to_owned())];
        let inputs = Inputs::compile(&files, &schemas(), &templates(), Settings { hurry, ..settings() }).unwrap().0;
        let code = &inputs.route(0).route;
        for (step, least) in code.steps.iter().zip([whatsapp_or_sms, whatsapp_or_sms, voice]) {
            assert!(begins(step, code, least) && !begins(step, code, least - 1), "hurry {hurry}: {step:?}");
        }
        let pix = &inputs.route(2).route;
        assert!(pix.steps.iter().all(|step| begins(step, pix, 6_000)), "what carries no code only needs the time of a call");
    }
    // 33 s and 30 s before a call that needs 45 s.
    refused(CODES, "expiry = \"5m\"", "expiry = \"107s\"", "route.0.expiry", "a code needs 45s of life at the last step");
    assert_eq!(faults(CODES, "expiry = \"5m\"", "expiry = \"108s\""), Vec::<String>::new());
}

#[test]
fn a_code_that_is_a_number_is_refused() {
    let mut all = schemas();
    all.insert("schemas/auth_challenge.avsc".into(), CODE_SCHEMA.replace(r#"{ "name": "code", "type": "string""#, r#"{ "name": "code", "type": "long""#));
    let found = compile(&[("routes/x.toml", CODES)], &all).map(|_| ()).unwrap_err();
    assert!(found.len() == 1 && found[0].key == "input.fields.code" && found[0].sentence.contains("leading zeros"), "{found:?}");
}

#[test]
fn routes_and_steps_have_bounds() {
    refused(PIX, "expiry = \"15m\"", "expiry = \"0s\"", "route.0.expiry", "more than nothing");
    refused(PIX, "expiry = \"15m\"", "expiry = \"30s\"", "route.0.expiry", "the last step could never begin");
    refused(PIX, "lease = \"10s\"", "lease = \"5s\"", "route.0.steps.0.lease", "nothing could be sent");
    refused(PIX, "lease = \"10s\"", "lease = \"10m\"", "route.0.steps.0.lease", "between 1s and 2m");
    refused(PIX, "linger = \"10m\"", "linger = \"2days\"", "route.0.linger", "between 0s and 1day");
    refused(PIX, "dedup_window = \"1h\"", "dedup_window = \"30days\"", "input.dedup_window", "7days");
    refused(PIX, "template = \"pix_recebido\"", "template = \"pix_recebida\"", "route.0.steps.0.template", "catalogue does not have");
    refused(PIX, "wait = \"33s\"", "wait = \"29s\"", "route.0.steps.0.wait", "it could arrive after its fallback");
    let narrow = faults(PIX, "wait = \"33s\"", "wait = \"32s\"");
    assert!(narrow.len() == 1 && narrow[0].starts_with("warning: routes/x.toml: route.0.steps.0.wait: "), "{narrow:?}");
    let when = "when = [{ field = \"direction\", equals = \"RECEIVED\" }]";
    refused(PIX, when, "", "route.1", "can never match");
    refused(PIX, "name = \"pix.sent\"", "name = \"pix.received\"", "route.1.name", "another route");
    refused(PIX, "name = \"pix\" ", "name = \"Pix\" ", "input.name", "lower-case");
    refused(PIX, "topic = \"pix.transactions\"", "topic = \"pix transactions\"", "input.topic", "no topic's name");
    refused(PIX, "schema = \"schemas/pix_transaction.avsc\"", "schema = \"schemas/pix.avsc\"", "input.schema", "is not there");
}

#[test]
fn a_whatsapp_template_without_a_ttl_of_its_own_cannot_have_a_fallback() {
    let mut templates = templates();
    templates.get_mut("pix_recebido").unwrap().whatsapp_ttl = None;
    templates.get_mut("pix_enviado").unwrap().channels.remove(&Channel::Voice);
    let found = Inputs::compile(&[("routes/x.toml".to_owned(), PIX.to_owned())], &schemas(), &templates, settings()).map(|_| ()).unwrap_err();
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("no TTL of its own") && found[1].contains("no text for voice"), "{found:?}");
}

#[test]
fn one_topic_is_one_input_with_one_lane() {
    let other = BILLS.replace("billing.invoices", "pix.transactions");
    let found = compile(&[("routes/a.toml", PIX), ("routes/b.toml", &other)], &schemas()).map(|_| ()).unwrap_err();
    assert_eq!(found.len(), 1);
    assert!(found[0].to_string().contains("routes/b.toml: input.topic: is `pix.transactions`") && found[0].sentence.contains("one lane"), "{}", found[0]);
    let found = compile(&[("routes/a.toml", PIX), ("routes/b.toml", PIX)], &schemas()).map(|_| ()).unwrap_err();
    let keys: Vec<_> = found.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(keys, ["input.name", "input.topic", "route.0.name", "route.1.name"]);
}

#[test]
fn all_faults_of_all_files_come_at_once() {
    let codes = CODES
        .replace("lane = \"express\"", "lane = \"bulk\"")
        .replace("expiry = \"5m\"", "expiry = \"1h\"")
        .replace("customer = \"customer_id\"", "customer = \"nobody\"");
    let found =
        compile(&[("routes/broken.toml", "input = 1"), ("routes/codes.toml", &codes), ("routes/bills.toml", &BILLS.replace("fatura", "conta"))], &schemas());
    let keys: Vec<_> = found.map(|_| ()).unwrap_err().into_iter().map(|fault| (fault.file, fault.key)).collect();
    let keys: Vec<_> = keys.iter().map(|(file, key)| (file.as_str(), key.as_str())).collect();
    assert_eq!(
        keys,
        [
            ("routes/broken.toml", "input"),
            ("routes/broken.toml", "route"),
            ("routes/codes.toml", "input.customer"),
            ("routes/codes.toml", "input.lane"),
            ("routes/codes.toml", "route.0.expiry"),
            ("routes/bills.toml", "route.0.steps.0.template"),
            ("routes/bills.toml", "route.0.steps.1.template"),
        ]
    );
}

#[test]
fn a_demonstration_hurries_waits_and_leases_and_leaves_the_expiry() {
    let files = [("routes/x.toml".to_owned(), PIX.to_owned())];
    let (inputs, _) = Inputs::compile(&files, &schemas(), &templates(), Settings { hurry: 10, ..settings() }).unwrap();
    let route = inputs.route(0);
    assert_eq!(route.expiry, Duration::from_secs(900));
    assert_eq!(route.route.linger, Duration::from_secs(60));
    assert_eq!(route.route.call_max, Duration::from_millis(500));
    assert!(format!("{:?}", route.route.steps[0]).contains("3.3s"), "{:?}", route.route.steps[0]);
}
