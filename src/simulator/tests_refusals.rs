//! What the providers refuse: each body is the accepted one with one thing wrong.

use super::tests::{ATTEMPT, alike, stage, template};
use super::*;
use serde_json::{Value, json};

const CODE: &str = "5511987650001";

fn code() -> Value {
    let mut body = template(CODE);
    let button = json!({"type": "button", "sub_type": "url", "index": "0", "parameters": [{"type": "text", "text": "493817"}]});
    body["template"]["name"] = "codigo_30s".into();
    body["template"]["components"] = json!([{"type": "body", "parameters": [{"type": "text", "text": "493817"}]}, button]);
    body
}

type Change = fn(&mut Value);

#[tokio::test]
async fn meta_refuses_what_its_pages_forbid_and_counts_no_send() {
    let utility = Template { language: "pt_BR".into(), category: Category::Utility, body_parameters: 2, ttl: Duration::from_secs(30) };
    let authentication = Template { category: Category::Authentication, body_parameters: 1, ..utility.clone() };
    let stage = stage(|settings| {
        settings.meta.templates = [("pix_30s".to_owned(), utility), ("codigo_30s".to_owned(), authentication)].into();
        settings.script.otherwise = alike("silent");
    })
    .await;
    let pix: [(u16, u64, Change); 16] = [
        (400, 100, |it| it["messaging_product"] = "sms".into()),
        (400, 100, |it| it["recipient_type"] = "group".into()),
        (400, 100, |it| drop(it.as_object_mut().unwrap().shift_remove("to"))),
        (400, 131_009, |it| it["to"] = "11 98765".into()),
        (400, 131_021, |it| it["to"] = "551140040001".into()),
        (400, 100, |it| it["biz_opaque_callback_data"] = "x".repeat(513).into()),
        (400, 100, |it| it["type"] = "carrier_pigeon".into()),
        (400, 131_008, |it| it["template"]["name"] = "".into()),
        (404, 132_001, |it| it["template"]["name"] = "pix_31s".into()),
        (404, 132_001, |it| it["template"]["language"]["code"] = "pt_PT".into()),
        (400, 100, |it| it["template"]["policy"] = "deterministic".into()),
        (400, 132_000, |it| drop(it["template"]["components"][0]["parameters"].as_array_mut().unwrap().pop())),
        (400, 131_008, |it| it["template"]["components"][0]["parameters"][0]["text"] = "".into()),
        (400, 132_018, |it| it["template"]["components"][0]["parameters"][0]["text"] = "Maria\nSilva".into()),
        (400, 132_005, |it| it["template"]["components"][0]["parameters"][0]["text"] = "x".repeat(1_024).into()),
        (400, 100, |it| it["template"]["components"][0]["type"] = "footer".into()),
    ];
    let codes: [(u16, u64, Change); 6] = [
        (400, 131_008, |it| drop(it["template"]["components"].as_array_mut().unwrap().pop())),
        (400, 132_018, |it| it["template"]["components"][1]["parameters"][0]["text"] = "493818".into()),
        (400, 132_018, |it| it["template"]["components"][0]["parameters"][0]["text"] = "1".repeat(16).into()),
        (400, 100, |it| it["template"]["components"][1]["index"] = 0.into()),
        (400, 100, |it| it["template"]["components"][1]["sub_type"] = "press".into()),
        (400, 131_008, |it| drop(it["template"]["components"][1].as_object_mut().unwrap().shift_remove("parameters"))),
    ];
    for (at, (good, status, code, change)) in
        pix.map(|(s, c, f)| (template(CODE), s, c, f)).into_iter().chain(codes.map(|(s, c, f)| (self::code(), s, c, f))).enumerate()
    {
        assert_eq!(stage.whatsapp(&good).await.unwrap().status(), 200, "the body that is changed in {at}");
        let mut bad = good;
        change(&mut bad);
        let answer = stage.whatsapp(&bad).await.unwrap();
        assert_eq!(answer.status(), status, "{at}");
        assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], code, "{at}");
    }
    let lines = stage.lines();
    let refused = lines.iter().filter(|line| matches!(line, Line::Refused { channel: Channel::Whatsapp, .. })).count();
    let counted = lines.iter().filter(|line| matches!(line, Line::Call(call) if call.counts)).count();
    assert_eq!((refused, counted), (22, 22));
}

#[tokio::test]
async fn meta_wants_its_token_its_number_and_json() {
    let stage = stage(|_| {}).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let base = stage.providers.base_url();
    let body = template(CODE).to_string();
    for (path, token, kind, status, code) in [
        ("v23.0/100000000000001", "", "application/json", 401, 0),
        ("v23.0/100000000000001", "Bearer wrong", "application/json", 401, 190),
        ("v23.0/7", "Bearer simulated-access-token", "application/json", 400, 33),
        ("23/100000000000001", "Bearer simulated-access-token", "application/json", 400, 100),
        ("v23.0/100000000000001", "Bearer simulated-access-token", "text/plain", 400, 100),
    ] {
        let mut request = client.post(format!("{base}/{path}/messages")).header("content-type", kind).body(body.clone());
        if !token.is_empty() {
            request = request.header("authorization", token);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{path} {token} {kind}");
        assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], code);
    }
}

#[tokio::test]
async fn twilio_refuses_what_its_pages_forbid_and_counts_no_send() {
    let stage = stage(|settings| settings.script.otherwise = alike("silent")).await;
    let callback = format!("https://h.example/x?a={ATTEMPT}");
    let long = "x".repeat(1_601);
    let sms = [("To", "+5511987650001"), ("From", "28888"), ("Body", "Oi"), ("StatusCallback", callback.as_str())];
    let call = [("To", "+5511987650001"), ("From", "+551140040001"), ("Twiml", "<Response><Hangup/></Response>"), ("StatusCallback", callback.as_str())];
    for (resource, good, name, value, code) in [
        ("Messages", sms, "To", "", 21_604),
        ("Messages", sms, "To", "11987650001", 21_211),
        ("Messages", sms, "From", "", 21_603),
        ("Messages", sms, "Body", "", 21_602),
        ("Messages", sms, "Body", long.as_str(), 21_617),
        ("Messages", sms, "ValidityPeriod", "0", 21_624),
        ("Messages", sms, "ValidityPeriod", "36001", 21_624),
        ("Messages", sms, "StatusCallback", "https://under_score.example/", 21_609),
        ("Messages", sms, "AddressRetention", "discard", 20_001),
        ("Messages", sms, "Boddy", "Oi", 20_001),
        ("Calls", call, "To", "", 21_201),
        ("Calls", call, "To", "+1", 21_217),
        ("Calls", call, "From", "", 21_213),
        ("Calls", call, "From", "28888", 21_212),
        ("Calls", call, "Twiml", "", 21_205),
        ("Calls", call, "Twiml", "<Response>", 12_100),
        ("Calls", call, "Twiml", long.repeat(3).leak(), 20_001),
        ("Calls", call, "StatusCallbackEvent", "hung-up", 21_626),
        ("Calls", call, "Timeout", "601", 20_001),
    ] {
        assert_eq!(stage.twilio(resource, &good).await.unwrap().status(), 201, "{resource}");
        let mut bad: Vec<_> = good.into_iter().filter(|field| field.0 != name).collect();
        bad.push((name, value));
        let answer = stage.twilio(resource, &bad).await.unwrap();
        assert_eq!(answer.status(), 400, "{resource} {name}");
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], code, "{resource} {name}");
    }
    let lines = stage.lines();
    let refused = lines.iter().filter(|line| matches!(line, Line::Refused { channel: Channel::Sms | Channel::Voice, .. })).count();
    assert_eq!((refused, lines.iter().filter(|line| matches!(line, Line::Call(call) if call.counts)).count()), (19, 19));
}

#[tokio::test]
async fn twilio_wants_its_key_its_account_and_a_form() {
    let stage = stage(|_| {}).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let twilio = Twilio::default();
    for (account, password, kind, status, code) in [
        (twilio.account_sid.as_str(), "wrong", "application/x-www-form-urlencoded", 401, 20_003),
        ("AC7", twilio.api_secret.as_str(), "application/x-www-form-urlencoded", 404, 20_404),
        (twilio.account_sid.as_str(), twilio.api_secret.as_str(), "application/json", 415, 20_415),
    ] {
        let url = format!("{}/2010-04-01/Accounts/{account}/Messages.json", stage.providers.base_url());
        let request = client.post(url).basic_auth(&twilio.api_key, Some(password)).header("content-type", kind).body("To=%2B5511987650001");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], code);
    }
}
