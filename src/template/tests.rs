//! The templates that are shipped, rendered and linted as a bank would.

use super::*;
use crate::config::{Fault, Severity};
use crate::delivery::{Channel, Lane, Reason, Timestamp};
use crate::privacy::{Class, Content, Payload, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const FILES: [(&str, &str); 4] = [
    ("codigo.toml", include_str!("../../config/templates/codigo.toml")),
    ("fatura.toml", include_str!("../../config/templates/fatura.toml")),
    ("pix_enviado.toml", include_str!("../../config/templates/pix_enviado.toml")),
    ("pix_recebido.toml", include_str!("../../config/templates/pix_recebido.toml")),
];
const PIX: &[(&str, Class)] = &[
    ("amount", Class::Amount),
    ("payer_name", Class::Name),
    ("payee_name", Class::Name),
    ("institution", Class::Public),
    ("occurred_at", Class::Public),
    ("key", Class::PixKey),
    ("document", Class::Cpf),
    ("card", Class::Card),
    ("note", Class::FreeText),
    ("balance", Class::Balance),
    ("end_to_end_id", Class::Reference),
    ("password", Class::Secret),
];
const CODE: &[(&str, Class)] = &[("purpose", Class::Public)];
const BILL: &[(&str, Class)] = &[("customer_name", Class::Name), ("amount", Class::Amount), ("due_date", Class::Public)];

fn masking() -> Masking {
    Masking::parse("masking.toml", include_str!("../../config/masking.toml")).expect("the shipped policy is right")
}

fn compile(files: &[(&str, &str)]) -> Catalogue {
    let files: Vec<_> = files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    Catalogue::compile(&files, masking()).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn shipped() -> Catalogue {
    compile(&FILES)
}

fn text(class: Class, text: &str) -> Value {
    Value { class, content: Content::Text(Secret::new(text.to_owned())) }
}

fn payload(values: impl IntoIterator<Item = (&'static str, Value)>) -> Payload {
    Payload { values: values.into_iter().map(|(field, value)| (field.into(), value)).collect(), ..Payload::default() }
}

fn pix() -> Payload {
    payload([
        ("amount", Value { class: Class::Amount, content: Content::Amount(Secret::new(123_456)) }),
        ("payer_name", text(Class::Name, "Maria Aparecida da Silva")),
        ("payee_name", text(Class::Name, "João dos Santos")),
        ("institution", text(Class::Public, "Cooperativa\nExemplo")),
        ("occurred_at", Value { class: Class::Public, content: Content::Time(Timestamp::from_millis(1_764_955_920_000)) }),
    ])
}

fn sms(rendered: Result<Rendered, RenderError>) -> String {
    match rendered {
        Ok(Rendered::Sms(text)) => text.expose().clone(),
        other => panic!("no SMS: {other:?}"),
    }
}

fn whatsapp(rendered: Result<Rendered, RenderError>) -> WhatsAppTemplate {
    match rendered {
        Ok(Rendered::WhatsApp(template)) => template,
        other => panic!("no WhatsApp template: {other:?}"),
    }
}

fn spoken(rendered: Result<Rendered, RenderError>) -> Spoken {
    match rendered {
        Ok(Rendered::Voice(spoken)) => spoken,
        other => panic!("no call: {other:?}"),
    }
}

fn parameters(template: &WhatsAppTemplate) -> Vec<&str> {
    template.body.iter().map(|(_, text)| text.expose().as_str()).collect()
}

#[test]
fn a_pix_is_told_masked_and_in_the_customers_time() {
    let catalogue = shipped();
    let template = whatsapp(catalogue.render("pix_recebido", Channel::WhatsApp, &pix(), None));
    assert_eq!((template.name.as_str(), template.language.as_str()), ("pix_recebido_30s", "pt_BR"));
    assert_eq!(parameters(&template), ["R$ 1.234,56", "Maria S.", "Cooperativa Exemplo", "05/12/2025 às 14:32"]);
    assert!(template.copy_code.is_none() && template.body.iter().all(|(name, _)| name.is_none()));
    let text = sms(catalogue.render("pix_recebido", Channel::Sms, &pix(), None));
    assert_eq!(text, "Banco Exemplo: voce recebeu um Pix de R$ 1.234,56 de Maria S. em 05/12/2025 as 14:32. Veja o comprovante no aplicativo.");
    let text = sms(catalogue.render("pix_enviado", Channel::Sms, &pix(), None));
    assert_eq!(text, "Banco Exemplo: Pix de R$ 1.234,56 enviado para Joao S. em 05/12/2025 as 14:32. Nao foi voce? Ligue 0800 000 0000.");
    let manaus = Payload { zone: Some("America/Manaus".to_owned()), ..pix() };
    assert!(sms(catalogue.render("pix_enviado", Channel::Sms, &manaus, None)).contains("as 13:32"));
    let rio_branco = Payload { phone: crate::privacy::PhoneNumber::parse("+5568999998888"), ..pix() };
    assert!(sms(catalogue.render("pix_enviado", Channel::Sms, &rio_branco, None)).contains("as 12:32"), "the phone's area");
    let nowhere = Payload { zone: Some("Mars/Olympus".to_owned()), ..pix() };
    assert!(sms(catalogue.render("pix_enviado", Channel::Sms, &nowhere, None)).contains("as 14:32"));
}

#[test]
fn a_call_says_nothing_of_the_payment_and_never_the_code() {
    let catalogue = shipped();
    let call = spoken(catalogue.render("pix_recebido", Channel::Voice, &pix(), None));
    assert!(!call.code_follows && !call.greeting.expose().contains("1.234") && !call.greeting.expose().contains("Maria"));
    let call = spoken(catalogue.render("codigo", Channel::Voice, &payload([]), Some(&Secret::new("493817".to_owned()))));
    assert!(call.code_follows && !call.greeting.expose().contains("493817"));
}

#[test]
fn a_code_goes_by_authentication_template_and_sms_as_it_is() {
    let catalogue = shipped();
    let purpose = || payload([("purpose", text(Class::Public, "entrar no aplicativo"))]);
    for code in ["493817", "CANARYcanary123"] {
        let secret = Secret::new(code.to_owned());
        let template = whatsapp(catalogue.render("codigo", Channel::WhatsApp, &purpose(), Some(&secret)));
        assert_eq!(template.copy_code.as_ref().map(|code| code.expose().as_str()), Some(code));
        assert!(template.body.is_empty());
        assert_eq!(
            sms(catalogue.render("codigo", Channel::Sms, &purpose(), Some(&secret))),
            format!("Banco Exemplo: seu codigo e {code}. Motivo: entrar no aplicativo. Nao informe a ninguem: nunca ligamos para pedir.")
        );
    }
    for channel in Channel::ALL {
        assert_eq!(catalogue.render("codigo", channel, &purpose(), None).unwrap_err(), RenderError::CodeShape);
        for bad in ["123", "12345", "abc", "1234567890123456", "12 34 56", "123456é", ""] {
            let error = catalogue.render("codigo", channel, &purpose(), Some(&Secret::new(bad.to_owned()))).unwrap_err();
            assert_eq!((error, error.reason()), (RenderError::CodeShape, Reason::CodeShape), "{bad}");
        }
    }
}

#[test]
fn no_link_stands_beside_a_code_however_it_is_written() {
    let code = Secret::new("493817".to_owned());
    let catalogue = shipped();
    for link in ["www.golpe.com.br", "golpe\u{ff0e}com", "golpe\u{2024}com", "golpe\u{fe52}com", "pague⒈com", "https：／／golpe"] {
        let purpose = payload([("purpose", text(Class::Public, &format!("veja {link}")))]);
        assert_eq!(catalogue.render("codigo", Channel::Sms, &purpose, Some(&code)).unwrap_err(), RenderError::Link, "{link}");
    }
    let catalogue = compile(&[("a.toml", sms_file("Código {{ code }}: {{ purpose }}.{{ payer_name }}").as_str())]);
    let pieces = |purpose| payload([("purpose", text(Class::Public, purpose)), ("payer_name", text(Class::Name, "Com Silva"))]);
    assert_eq!(catalogue.render("a", Channel::Sms, &pieces("golpe"), Some(&code)).unwrap_err(), RenderError::Link, "made of two values");
    assert_eq!(sms(catalogue.render("a", Channel::Sms, &pieces("golpe!"), Some(&code))), "Codigo 493817: golpe!.Com S.");
    let mut pix = pix();
    pix.values.insert("payer_name".into(), text(Class::Name, "pague⒈com Silva"));
    assert!(sms(shipped().render("pix_recebido", Channel::Sms, &pix, None)).contains("de Silva em"), "nor in a name");
}

#[test]
fn a_payee_keeps_no_message_back_by_his_key() {
    let at_sms = compile(&[("a.toml", sms_file("Pix para {{ key }}.").as_str())]);
    let at_whatsapp = compile(&[("a.toml", body_file(TTL, "Pix para {{1}} enviado.", "\"{{ key }}\"").as_str())]);
    for key in [
        "x@11999998888.com.br",
        "x@1199999.8888.com",
        "x@11-99999-8888.com",
        "x@529.982.247-25.com",
        "x@4111.1111.1111.1111.com",
        "x@abcdefgh000195.com",
        "x@中abcdefgh000195中.com",
        "x@senha.4821.com",
    ] {
        let payload = payload([("key", text(Class::PixKey, key))]);
        assert_eq!(sms(at_sms.render("a", Channel::Sms, &payload, None)), "Pix para chave Pix.", "{key}");
        assert_eq!(parameters(&whatsapp(at_whatsapp.render("a", Channel::WhatsApp, &payload, None))), ["chave Pix"], "{key}");
    }
}

#[test]
fn the_shipped_templates_show_every_filter_and_both_kinds_of_parameters() {
    let shown: String = FILES.iter().map(|(_, text)| *text).collect();
    let filters = super::masking::Format::ALL.map(super::masking::Format::word);
    for filter in filters.into_iter().filter(|word| *word != "usual").chain(["default"]) {
        assert!(shown.contains(&format!(" | {filter}")), "no shipped template shows {filter}");
    }
    assert!(shown.contains("parameters = [") && shown.contains("parameters = { "));
}

#[test]
fn a_bill_is_told_with_its_due_date() {
    let bill = || {
        payload([
            ("customer_name", text(Class::Name, "Ana Lima")),
            ("amount", Value { class: Class::Amount, content: Content::Amount(Secret::new(9_900)) }),
            ("due_date", Value { class: Class::Public, content: Content::Date(2025, 12, 10) }),
        ])
    };
    let catalogue = shipped();
    assert_eq!(parameters(&whatsapp(catalogue.render("fatura", Channel::WhatsApp, &bill(), None))), ["Ana L.", "R$ 99,00", "10/12/2025"]);
    assert_eq!(
        sms(catalogue.render("fatura", Channel::Sms, &bill(), None)),
        "Banco Exemplo: Ana L., sua fatura de R$ 99,00 vence em 10/12/2025. Pague pelo aplicativo. Se ja pagou, desconsidere."
    );
    assert_eq!(catalogue.render("fatura", Channel::Voice, &bill(), None).unwrap_err(), RenderError::Unknown);
}

#[test]
fn what_is_missing_or_empty_takes_its_default_or_ends_the_attempt() {
    let catalogue = shipped();
    let without = |field: &str| {
        let mut payload = pix();
        payload.values.remove(field);
        payload
    };
    assert!(sms(catalogue.render("pix_recebido", Channel::Sms, &without("payer_name"), None)).contains("de outra conta em"));
    let mut empty = pix();
    empty.values.insert("payer_name".into(), text(Class::Name, " \u{200b}\n"));
    assert!(sms(catalogue.render("pix_recebido", Channel::Sms, &empty, None)).contains("de outra conta em"));
    let error = catalogue.render("pix_recebido", Channel::Sms, &without("amount"), None).unwrap_err();
    assert_eq!((error, error.reason(), error.rule()), (RenderError::Missing, Reason::Template, "missing_field"));
    assert_eq!(catalogue.render("nada", Channel::Sms, &pix(), None).unwrap_err(), RenderError::Unknown);
}

#[test]
fn a_missing_date_takes_its_default_whatever_filters_stand_beside_it() {
    let catalogue = compile(&[("a.toml", sms_file("Vence {{ due_date | default('em breve') | date }}, {{ due_date | day | default('logo') }}.").as_str())]);
    let due = payload([("due_date", Value { class: Class::Public, content: Content::Date(2025, 12, 10) })]);
    assert_eq!(sms(catalogue.render("a", Channel::Sms, &due, None)), "Vence 10/12/2025, 10/12.");
    assert_eq!(sms(catalogue.render("a", Channel::Sms, &payload([]), None)), "Vence em breve, logo.");
}

#[test]
fn a_value_without_its_shape_is_starred_and_noted() {
    let mut odd = pix();
    odd.values.insert("payer_name".into(), text(Class::Name, "52998224725"));
    odd.values.insert("amount".into(), Value { class: Class::Amount, content: Content::Amount(Secret::new(-1)) });
    let mut unfit = Vec::new();
    let text = sms(shipped().render_noting("pix_recebido", Channel::Sms, &odd, None, &mut unfit));
    assert!(text.contains("um Pix de *** de *** em"), "{text}");
    assert_eq!(unfit, [Class::Amount, Class::Name]);
}

#[test]
fn what_slipped_into_a_public_field_stops_the_message() {
    let catalogue = shipped();
    for (leak, rule) in [
        ("CPF 529.982.247-25", "scan_cpf"),
        ("4111 1111 1111 1111", "scan_card"),
        ("12.ABC.345/01DE-35", "scan_cnpj"),
        ("fale com maria@exemplo.com.br", "scan_email"),
        ("(11) 99999-8888", "scan_phone"),
        ("senha 4821", "scan_password"),
    ] {
        let mut payload = pix();
        payload.values.insert("institution".into(), text(Class::Public, leak));
        let error = catalogue.render("pix_recebido", Channel::WhatsApp, &payload, None).unwrap_err();
        assert_eq!((error.rule(), error.reason()), (rule, Reason::Scan), "{leak}");
    }
}

#[test]
fn a_text_over_its_limit_is_refused_and_never_cut() {
    let catalogue = shipped();
    let mut payload = pix();
    payload.values.insert("institution".into(), text(Class::Public, &"a".repeat(1_000)));
    assert_eq!(catalogue.render("pix_recebido", Channel::WhatsApp, &payload, None).unwrap_err(), RenderError::TooLong);
    let long = payload_of_purpose(70);
    assert_eq!(catalogue.render("codigo", Channel::Sms, &long, Some(&Secret::new("493817".to_owned()))).unwrap_err(), RenderError::TooLong);
    let room = 160 - "Banco Exemplo: seu codigo e 493817. Motivo: . Nao informe a ninguem: nunca ligamos para pedir.".len();
    assert_eq!(sms(catalogue.render("codigo", Channel::Sms, &payload_of_purpose(room), Some(&Secret::new("493817".to_owned())))).len(), 160);
    assert!(catalogue.render("codigo", Channel::Sms, &payload_of_purpose(room + 1), Some(&Secret::new("493817".to_owned()))).is_err());
}

fn payload_of_purpose(length: usize) -> Payload {
    payload([("purpose", text(Class::Public, &"a".repeat(length)))])
}

#[test]
fn nothing_of_a_message_prints() {
    let rendered = shipped().render("codigo", Channel::Sms, &payload([]), Some(&Secret::new("493817".to_owned()))).unwrap();
    assert!(!format!("{rendered:?} {rendered:#?}").contains("493817"));
    let rendered = shipped().render("pix_recebido", Channel::WhatsApp, &pix(), None).unwrap();
    assert!(!format!("{rendered:?}").contains("Maria"));
}

#[test]
fn what_a_class_forbids_is_refused_even_without_the_lint() {
    let catalogue = compile(&[("a.toml", "name = \"a\"\n[sms]\ntext = \"x {{ x }}\"\n[voice]\ngreeting = \"x {{ x }}\"\nafter_keypress = \"nothing\"\n")]);
    for (class, channel, content) in [
        (Class::Secret, Channel::Sms, "x"),
        (Class::Reference, Channel::Sms, "x"),
        (Class::Balance, Channel::Sms, "x"),
        (Class::FreeText, Channel::Sms, "x"),
        (Class::Cpf, Channel::Voice, "52998224725"),
        (Class::Otp, Channel::Voice, "493817"),
        (Class::Amount, Channel::Voice, "1"),
    ] {
        assert_eq!(catalogue.render("a", channel, &payload([("x", text(class, content))]), None).unwrap_err(), RenderError::Forbidden(class));
    }
}

#[test]
fn the_catalogue_tells_what_it_has() {
    let catalogue = shipped();
    assert_eq!(catalogue.names().collect::<Vec<_>>(), ["codigo", "fatura", "pix_enviado", "pix_recebido"]);
    assert_eq!(catalogue.channels("fatura").into_iter().collect::<Vec<_>>(), [Channel::WhatsApp, Channel::Sms]);
    assert!(catalogue.channels("nada").is_empty());
    assert_eq!(catalogue.whatsapp_ttl("fatura"), Some(Duration::from_secs(1_800)));
    let provider: Vec<_> = catalogue.provider_templates().map(|template| (template.name, template.category, template.parameters)).collect();
    let (utility, authentication) = (Category::Utility, Category::Authentication);
    assert_eq!(provider, [("codigo_30s", authentication, 1), ("fatura_30m", utility, 3), ("pix_enviado_30s", utility, 5), ("pix_recebido_30s", utility, 4)]);
}

// --- lint ---

fn a_use(template: &'static str, channel: Channel, fields: &'static [(&'static str, Class)]) -> TemplateUse<'static> {
    let (wait, lane) = (Duration::from_secs(33), Lane::Express);
    TemplateUse { route: "rota", channel, template, fields, lane, wait, last_step: false, has_code: false }
}

fn lines(faults: &[Fault]) -> Vec<(Severity, &str, &str)> {
    faults.iter().map(|fault| (fault.severity, fault.key.as_str(), fault.sentence.as_str())).collect()
}

#[test]
fn the_shipped_templates_have_no_fault() {
    let code = |channel| TemplateUse { has_code: true, ..a_use("codigo", channel, CODE) };
    let bill = |channel| TemplateUse { lane: Lane::Bulk, wait: Duration::from_secs(1_803), ..a_use("fatura", channel, BILL) };
    let mut uses: Vec<_> =
        Channel::ALL.iter().flat_map(|channel| [a_use("pix_recebido", *channel, PIX), a_use("pix_enviado", *channel, PIX), code(*channel)]).collect();
    uses.extend([bill(Channel::WhatsApp), bill(Channel::Sms)]);
    let faults = lint(&shipped(), &uses);
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Lints one use of a catalogue of one file; returns keys of the refusals, and of the warnings with a `?` in front.
fn keys(file: &str, one: TemplateUse<'_>) -> Vec<String> {
    let faults = lint(&compile(&[("a.toml", file)]), &[one]);
    lines(&faults).iter().map(|(severity, key, _)| format!("{}{key}", if *severity == Severity::Warn { "?" } else { "" })).collect()
}

fn sms_file(text: &str) -> String {
    format!("name = \"a\"\n[sms]\ntext = \"{text}\"\n")
}

fn voice_file(greeting: &str, after: &str) -> String {
    format!("name = \"a\"\n[voice]\ngreeting = \"{greeting}\"\nafter_keypress = \"{after}\"\n")
}

fn whatsapp_file(rest: &str) -> String {
    format!("name = \"a\"\n[whatsapp]\nname = \"a_30s\"\nlanguage = \"pt_BR\"\n{rest}\n")
}

fn body_file(ttl: &str, body: &str, parameters: &str) -> String {
    let sha256 = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body.as_bytes()).as_ref());
    whatsapp_file(&format!("category = \"UTILITY\"\n{ttl}\nbody = \"{body}\"\nparameters = [{parameters}]\napproved_sha256 = \"{sha256}\""))
}

const TTL: &str = "ttl = \"30s\"";

#[test]
fn fields_must_be_in_the_route_and_of_a_class_that_may_be_shown() {
    let sms = |field: &str| keys(&sms_file(&format!("Olá {{{{ {field} }}}}.")), a_use("a", Channel::Sms, PIX));
    for field in ["amount", "payer_name", "institution", "key", "document", "card"] {
        assert!(sms(field).is_empty(), "{field}");
    }
    for field in ["nobody", "note", "balance", "end_to_end_id", "password"] {
        assert_eq!(sms(field), ["sms.text"], "{field}");
    }
    assert_eq!(keys(&sms_file("Olá {{ nobody | default('x') }}."), a_use("a", Channel::Sms, PIX)), ["sms.text"]);
    let voice = |field: &str| keys(&voice_file(&format!("Olá {{{{ {field} }}}}."), "nothing"), a_use("a", Channel::Voice, PIX));
    for (field, faults) in [("payer_name", 0), ("card", 0), ("institution", 0), ("amount", 1), ("document", 1), ("key", 1)] {
        assert_eq!(voice(field).len(), faults, "{field}");
    }
    assert_eq!(keys(&sms_file("{{ pix }}"), a_use("a", Channel::Sms, &[("pix", Class::PaymentCode)])), ["sms.text"]);
    assert_eq!(keys(&sms_file("x"), a_use("b", Channel::Sms, PIX)), ["b"], "a template that is not there");
    assert_eq!(keys(&sms_file("x"), a_use("a", Channel::Voice, PIX)), ["voice"], "no text for the channel");
}

#[test]
fn a_code_goes_nowhere_but_where_it_may() {
    let with = |channel| TemplateUse { has_code: true, ..a_use("a", channel, CODE) };
    let sms = sms_file("Código {{ code }}");
    assert!(keys(&sms, with(Channel::Sms)).is_empty());
    assert_eq!(keys(&sms, a_use("a", Channel::Sms, CODE)), ["sms"], "the route has no code");
    assert_eq!(keys(&sms, TemplateUse { lane: Lane::Bulk, ..with(Channel::Sms) }), ["sms"], "on the bulk lane");
    assert_eq!(keys(&sms_file("Código {{ code }} em https://banco.exemplo"), with(Channel::Sms)), ["sms.text"], "beside a link");
    assert_eq!(keys(&sms_file("Código {{ purpose }}"), a_use("a", Channel::Sms, &[("purpose", Class::Otp)])), ["sms.text"], "under another name");
    assert_eq!(keys(&sms_file("Olá"), with(Channel::Sms)), ["?sms"], "a code that nobody says");
    assert_eq!(keys(&voice_file("Código {{ code }}", "code"), with(Channel::Voice)), ["voice.greeting"], "before a keypress");
    assert_eq!(keys(&body_file(TTL, "Código {{1}} ok", "\"{{ code }}\""), with(Channel::WhatsApp)), ["whatsapp.parameters.1", "?whatsapp"]);
    let authentication = |minutes: u8| whatsapp_file(&format!("category = \"AUTHENTICATION\"\n{TTL}\ncode_expiration_minutes = {minutes}"));
    assert!(keys(&authentication(10), with(Channel::WhatsApp)).is_empty());
    assert_eq!(keys(&authentication(11), with(Channel::WhatsApp)), ["whatsapp.code_expiration_minutes"]);
    assert_eq!(keys(&authentication(5), a_use("a", Channel::WhatsApp, CODE)), ["whatsapp"], "the route has no code");
}

#[test]
fn a_ttl_ends_before_the_fallback_goes_out() {
    let at = |ttl: &str, wait, last_step| {
        let wait = Duration::from_secs(wait);
        keys(&body_file(ttl, "Olá", ""), TemplateUse { wait, last_step, ..a_use("a", Channel::WhatsApp, PIX) })
    };
    assert!(at(TTL, 33, false).is_empty());
    assert!(at(TTL, 30, false).is_empty());
    assert_eq!(at(TTL, 29, false), ["whatsapp.ttl"], "delivered after the fallback");
    assert_eq!(at("", 60, false), ["whatsapp.ttl"], "thirty days");
    assert!(at("", 60, true).is_empty());
    assert!(at(TTL, 30, true).is_empty());
    assert_eq!(at("ttl = \"29s\"", 60, false), ["whatsapp.ttl"]);
    assert_eq!(at("ttl = \"13h\"", 60_000, false), ["whatsapp.ttl"]);
    assert_eq!(at("ttl = \"30s 1ms\"", 60, false), ["whatsapp.ttl"]);
    let code = whatsapp_file("category = \"AUTHENTICATION\"\nttl = \"16m\"");
    assert_eq!(keys(&code, TemplateUse { has_code: true, wait: Duration::from_secs(3_600), ..a_use("a", Channel::WhatsApp, CODE) }), ["whatsapp.ttl"]);
}

#[test]
fn a_body_is_the_approved_one_and_of_a_form_that_meta_takes() {
    let at = |file: String| keys(&file, a_use("a", Channel::WhatsApp, PIX));
    assert!(at(body_file(TTL, "Olá {{1}}.", "\"{{ payer_name }}\"")).is_empty());
    assert_eq!(at(body_file(TTL, "Olá {{1}}.", "\"{{ payer_name }}\"").replace("Olá", "Oi")), ["whatsapp.approved_sha256"]);
    assert_eq!(at(whatsapp_file(&format!("category = \"UTILITY\"\n{TTL}\nbody = \"Olá\""))), ["whatsapp.approved_sha256"]);
    assert_eq!(at(body_file(TTL, "{{1}} oi.", "\"{{ payer_name }}\"")), ["whatsapp.body"]);
    assert_eq!(at(body_file(TTL, "Oi {{1}}", "\"{{ payer_name }}\"")), ["whatsapp.body"]);
    assert_eq!(at(body_file(TTL, &"a".repeat(1_025), "")), ["whatsapp.body", "whatsapp.body"]);
    assert_eq!(at(body_file(TTL, "Oi {{1}}.", "\"a     b\"")), ["whatsapp.parameters.1"]);
    assert_eq!(at(body_file(TTL, "Oi {{1}}.", "\"a\\nb\"")), ["whatsapp.parameters.1"]);
    assert_eq!(at(body_file(TTL, "Oi.", "").replace("a_30s", "A 30")), ["whatsapp.name"]);
}

#[test]
fn an_sms_is_one_segment_of_its_alphabet_and_no_text_stops_itself() {
    let at = |text: &str| keys(&sms_file(text), a_use("a", Channel::Sms, PIX));
    assert!(at(&"a".repeat(160)).is_empty());
    assert_eq!(at(&"a".repeat(161)), ["sms.text"]);
    assert_eq!(at(&format!("{} {{{{ payer_name }}}}", "a".repeat(150))), ["sms.text"]);
    assert!(at(&"€".repeat(80)).is_empty());
    assert_eq!(at(&"€".repeat(81)), ["sms.text"]);
    assert_eq!(at("Você ganhou 🎁"), ["sms.text"]);
    assert_eq!(at("Sua senha: abc123"), ["sms.text"]);
    assert_eq!(at("Ligue (11) 99999-8888"), ["sms.text"]);
    assert!(at("Nunca informe sua senha. Ligue 0800 000 0000").is_empty());
    assert_eq!(keys(&voice_file(&"a".repeat(401), "nothing"), a_use("a", Channel::Voice, PIX)), ["voice.greeting"]);
}

#[test]
fn a_text_is_judged_without_the_fields_that_have_a_default_too() {
    let at = |text: &str| keys(&sms_file(text), a_use("a", Channel::Sms, BILL));
    let long = "a".repeat(160);
    assert!(at("Vence {{ due_date | default('em breve') | date }}, {{ due_date | date | default('em breve') }}.").is_empty());
    assert_eq!(at(&format!("Vence {{{{ due_date | date | default('{long}') }}}}.")), ["sms.text"], "too long");
    assert!(at(&format!("Vence {{{{ due_date | date | default('{long}') }}}} {{{{ due_date | day }}}}.")).is_empty(), "it is needed");
    assert_eq!(at("Olá {{ customer_name | default('senha: abc123') }}"), ["sms.text"], "stopped by the last scan");
    assert_eq!(at("Olá {{ customer_name | default('🎁') }}."), ["sms.text"], "no letter of the alphabet");
    let faults = lint(&compile(&[("a.toml", sms_file(&format!("{{{{ customer_name | default('{long}a') }}}}")).as_str())]), &[a_use("a", Channel::Sms, BILL)]);
    let sentence = "Route `rota` would make it longer than the channel takes, with values of usual length, where the record lacks what has a `default`.";
    assert_eq!(lines(&faults), [(Severity::Refuse, "sms.text", sentence)]);
    let code = |text: &str| keys(&sms_file(text), TemplateUse { has_code: true, ..a_use("a", Channel::Sms, CODE) });
    assert_eq!(code("Código {{ code }} {{ purpose | default('golpe.com') }}"), ["sms.text"], "a link beside a code");
    assert_eq!(code("Código {{ code }}.Não informe a ninguém"), ["sms.text"], "a link made of the code");
    assert!(code("Código {{ code }}. Não informe a ninguém").is_empty());
    let greeting = voice_file(&format!("Olá {{{{ payer_name | default('{}') }}}}", "a".repeat(401)), "nothing");
    assert_eq!(keys(&greeting, a_use("a", Channel::Voice, PIX)), ["voice.greeting"]);
    let parameter = |default: &str| {
        let file = body_file(TTL, "Olá {{1}}.", &format!("\"{{{{ payer_name | default('{default}') }}}}\""));
        keys(&file, a_use("a", Channel::WhatsApp, PIX))
    };
    assert!(parameter("cliente").is_empty());
    assert_eq!(parameter(""), ["whatsapp.parameters.1"], "Meta takes no empty parameter");
    assert_eq!(parameter(r"a\\nb"), ["whatsapp.parameters.1"], "nor one of two lines");
}

// --- the last scan on what is sent every day ---

/// Numbers from a seed (splitmix64): the test names no other source of chance.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.roll(from.len() as u64)).unwrap()]
    }

    fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b'0' + u8::try_from(self.roll(10)).unwrap())).collect()
    }

    fn number(&mut self, below: i64) -> i64 {
        i64::try_from(self.roll(u64::try_from(below).unwrap())).unwrap()
    }
}

fn person(dice: &mut Dice) -> String {
    let first = dice.pick(&["Maria", "JOSÉ", "Ana-Clara", "João", "3M", "D'Ávila", "Antônio", "Zoë", "Fábrica"]);
    let middle = dice.pick(&["da", "dos", "de", "", "Aparecida", "e"]);
    let last = dice.pick(&["Silva", "SANTOS", "Lima", "Souza Filho", "Conceição", "Ltda", "", "52998224725", "senha 1234"]);
    format!("{first} {middle} {last}")
}

fn document(dice: &mut Dice, length: usize) -> String {
    let body = dice.digits(length - 2);
    (0..100).map(|check| format!("{body}{check:02}")).find(|text| crate::pix::is_cpf(text) || crate::pix::is_cnpj(text)).unwrap_or(body)
}

/// A message's worth of values as a bank would send them, from rich to odd.
fn values(dice: &mut Dice) -> BTreeMap<Arc<str>, Value> {
    let centavos = dice.pick(&[100, 100_000, 100_000_000, 100_000_000_000_000]);
    let institution = dice.pick(&["Banco 24 Horas", "Cooperativa de Crédito 001", "BCO EXEMPLO S.A.", "Exemplo Pagamentos - IP", "Caixa 104"]);
    let length = 11 + usize::try_from(dice.roll(9)).unwrap();
    let protocol = dice.digits(length);
    let email = format!("{}@exemplo.com.br", dice.pick(&["m", "maria", "maria.silva+1"]));
    [
        ("amount", Value { class: Class::Amount, content: Content::Amount(Secret::new(dice.number(centavos))) }),
        ("name", text(Class::Name, &person(dice))),
        ("institution", text(Class::Public, institution)),
        ("when", Value { class: Class::Public, content: Content::Time(Timestamp::from_millis(1_700_000_000_000 + dice.number(200_000_000_000))) }),
        ("cpf", text(Class::Cpf, &document(dice, 11))),
        ("cnpj", text(Class::Cnpj, &document(dice, 14))),
        ("card", text(Class::Card, dice.pick(&["4111111111111111", "5555 5555 5555 4444", "4111111111111112"]))),
        ("account", text(Class::Account, &dice.digits(9))),
        ("key", text(Class::PixKey, &dice.pick(&["+5511", "", "5"]).chars().chain(dice.digits(9).chars()).collect::<String>())),
        ("phone", text(Class::Phone, &format!("119{}", dice.digits(8)))),
        ("email", text(Class::Email, &email)),
        ("protocol", text(Class::Public, &protocol)),
    ]
    .into_iter()
    .map(|(field, value)| (field.into(), value))
    .collect()
}

const EVERYTHING: &str = "name = \"tudo\"\n[sms]\ntext = \"{{ bank }}: {{ code }} {{ amount }} {{ name }} {{ when | day }} {{ card }} {{ cpf }} {{ phone }}\"\n
[whatsapp]\nname = \"tudo\"\nlanguage = \"pt_BR\"\ncategory = \"UTILITY\"
body = \"Olá {{1}} {{2}} {{3}} {{4}} {{5}} {{6}} {{7}} {{8}} {{9}} {{10}} {{11}} {{12}}. Nunca informe sua senha.\"
parameters = [\"{{ name }}\", \"{{ amount }}\", \"{{ when }}\", \"{{ institution }}\", \"{{ cpf }}\", \"{{ cnpj }}\", \"{{ card }}\", \"{{ account }}\", \"{{ key }}\",
\"{{ phone }}\", \"{{ email }}\", \"{{ protocol }}\"]\n[voice]\ngreeting = \"Olá {{ name }}, cartão {{ card }}, {{ institution }}, {{ when }}\"\nafter_keypress = \"nothing\"\n";

/// A million takes two minutes without optimisation (measured, with no stop): there the first 30,000 have to do.
const TEXTS: u64 = if cfg!(debug_assertions) { 30_000 } else { 1_000_000 };

#[test]
fn the_last_scan_stops_none_of_a_million_honest_texts() {
    let catalogue = compile(&[("tudo.toml", EVERYTHING)]);
    for seed in 0..TEXTS {
        let mut dice = Dice(seed);
        let payload = Payload { values: values(&mut dice), shaped: ["protocol".to_owned()].into(), ..Payload::default() };
        let length = dice.pick(&[6, 8, 11, 14, 15]);
        let code = Secret::new(dice.digits(length));
        let channel = dice.pick(&Channel::ALL);
        if let Err(error) = catalogue.render("tudo", channel, &payload, Some(&code)) {
            panic!("seed {seed}, {}: {error}", channel.word());
        }
    }
}

/// Of random numbers one in twenty passes for a card (its first digit and Luhn), which nobody can tell from one.
#[test]
fn a_public_number_passes_by_its_fields_pattern_alone() {
    let catalogue = compile(&[("a.toml", "name = \"a\"\n[sms]\ntext = \"Protocolo {{ protocol }}.\"\n")]);
    let stopped = (0..2_000).filter(|seed| {
        let protocol = text(Class::Public, &Dice(*seed).digits(16));
        let mut payload = payload([("protocol", protocol)]);
        let without = catalogue.render("a", Channel::Sms, &payload, None);
        payload.shaped.insert("protocol".to_owned());
        sms(catalogue.render("a", Channel::Sms, &payload, None));
        matches!(without, Err(RenderError::Scan(Rule::Card)))
    });
    assert!((50..200).contains(&stopped.count()));
}
