//! The simulator against HTTP clients and a gateway that a test holds in its hand.

use super::*;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use base64::Engine as _;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::path::PathBuf;
use tokio::sync::mpsc;

/// One webhook as it arrived.
pub(super) struct Hit {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Hit {
    pub(super) fn form(&self) -> BTreeMap<String, String> {
        form_urlencoded::parse(&self.body).into_owned().collect()
    }

    fn status(&self) -> Value {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        body["entry"][0]["changes"][0]["value"]["statuses"][0].clone()
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// A gateway that hands every webhook to the test and answers what it is told; 200 otherwise.
pub(super) struct Gateway {
    pub(super) url: String,
    hits: mpsc::UnboundedReceiver<Hit>,
    answers: Arc<Mutex<VecDeque<(u16, &'static str)>>>,
}

impl Gateway {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, hits) = mpsc::unbounded_channel();
        let answers = Arc::<Mutex<VecDeque<(u16, &'static str)>>>::default();
        let queue = answers.clone();
        let handler = async move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let (status, text) = queue.lock().unwrap().pop_front().unwrap_or((200, ""));
            let echo = uri.query().and_then(|it| form_urlencoded::parse(it.as_bytes()).find(|(name, _)| name == "hub.challenge").map(|it| it.1.into_owned()));
            let _ = sender.send(Hit { path: uri.to_string(), headers, body });
            (StatusCode::from_u16(status).unwrap(), echo.unwrap_or_else(|| text.to_owned()))
        };
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(handler)).await });
        Self { url, hits, answers }
    }

    pub(super) fn answers(&self, next: &[(u16, &'static str)]) {
        self.answers.lock().unwrap().extend(next);
    }

    pub(super) async fn hit(&mut self) -> Hit {
        tokio::time::timeout(Duration::from_secs(10), self.hits.recv()).await.expect("a webhook within 10 s").unwrap()
    }
}

/// Twenty times faster than life.
const FACTOR: f64 = 0.05;
/// How long an answer may take on a busy machine; one that never comes costs as much.
const ANSWER_MAX: Duration = Duration::from_secs(5);
pub(super) const ATTEMPT: &str = "0190163d8f2a00070123456789abcdef-1-1";

pub(super) struct Stage {
    pub(super) providers: Providers,
    pub(super) gateway: Gateway,
    log: PathBuf,
    _folder: tempfile::TempDir,
    client: reqwest::Client,
}

pub(super) async fn stage(change: impl FnOnce(&mut Settings)) -> Stage {
    let gateway = Gateway::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings { log: Some(folder.path().join("sends.jsonl")), keep_texts: true, time_factor: FACTOR, ..Settings::default() };
    settings.meta.webhook = format!("{}/webhooks/meta", gateway.url);
    settings.twilio.calls_per_second = 100;
    change(&mut settings);
    let log = settings.log.clone().unwrap();
    let providers = Providers::start(settings).await.unwrap();
    Stage { providers, gateway, log, _folder: folder, client: reqwest::Client::builder().no_proxy().build().unwrap() }
}

pub(super) fn template(to: &str) -> Value {
    json!({"messaging_product": "whatsapp", "recipient_type": "individual", "to": to, "type": "template", "biz_opaque_callback_data": ATTEMPT,
        "template": {"name": "pix_30s", "language": {"code": "pt_BR"}, "components": [
            {"type": "body", "parameters": [{"type": "text", "text": "Maria S."}, {"type": "text", "text": "R$ 10,00"}]}]}})
}

impl Stage {
    pub(super) async fn whatsapp(&self, body: &Value) -> reqwest::Result<reqwest::Response> {
        let url = format!("{}/v23.0/100000000000001/messages", self.providers.base_url());
        let request = self.client.post(url).bearer_auth("simulated-access-token").timeout(ANSWER_MAX);
        request.header("content-type", "application/json").body(body.to_string()).send().await
    }

    pub(super) async fn twilio(&self, resource: &str, form: &[(&str, &str)]) -> reqwest::Result<reqwest::Response> {
        let twilio = Twilio::default();
        let url = format!("{}/2010-04-01/Accounts/{}/{resource}.json", self.providers.base_url(), twilio.account_sid);
        let request = self.client.post(url).basic_auth(twilio.api_key, Some(twilio.api_secret)).timeout(ANSWER_MAX);
        request.form(form).send().await
    }

    async fn sms(&self, to: &str, fragment: &str) -> reqwest::Result<reqwest::Response> {
        let callback = format!("{}/webhooks/twilio/main/sms?a={ATTEMPT}{fragment}", self.gateway.url);
        self.twilio("Messages", &[("To", &format!("+{to}")), ("From", "28888"), ("Body", "Seu Pix de R$ 10,00"), ("StatusCallback", &callback)]).await
    }

    async fn call(&self, to: &str) -> reqwest::Result<reqwest::Response> {
        let base = &self.gateway.url;
        let callback = format!("{base}/webhooks/twilio/main/call?a={ATTEMPT}#rp=all");
        let twiml = format!(
            "<Response><Gather input=\"dtmf\" numDigits=\"1\" timeout=\"6\" method=\"POST\" action=\"{base}/webhooks/twilio/main/voice?a={ATTEMPT}&amp;c=sealed\">\
             <Say language=\"pt-BR\" voice=\"Polly.Camila-Neural\">Aperte 1.</Say></Gather><Hangup/></Response>"
        );
        let mut form = vec![("To", "+5511987650001"), ("From", "+551140040001"), ("Twiml", &twiml), ("StatusCallback", &callback), ("Timeout", "25")];
        form[0].1 = to;
        form.extend(["initiated", "ringing", "answered", "completed"].map(|event| ("StatusCallbackEvent", event)));
        self.twilio("Calls", &form).await
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        SendLog::read(&self.log).unwrap()
    }

    /// Waits for the log, which a webhook's line reaches after its answer.
    async fn lines_until(&self, enough: impl Fn(&[Line]) -> bool) -> Vec<Line> {
        let found = async {
            loop {
                let lines = self.lines();
                if enough(&lines) {
                    return lines;
                }
                tokio::time::sleep(Duration::from_millis(5)).await; // the file system cannot be awaited
            }
        };
        tokio::time::timeout(Duration::from_secs(10), found).await.expect("the log within 10 s")
    }
}

fn only(number: &str, phone: Phone) -> impl FnOnce(&mut Settings) {
    let number = number.to_owned();
    move |settings| drop(settings.script.phones.insert(number, phone))
}

pub(super) fn alike(name: &str) -> Phone {
    Phone::named(name, name, name).unwrap()
}

#[tokio::test]
async fn a_template_is_accepted_and_its_receipts_come_signed_over_the_raw_bytes() {
    let mut stage = stage(|_| {}).await;
    let answer: Value = stage.whatsapp(&template("5511987650001")).await.unwrap().json().await.unwrap();
    let wamid = answer["messages"][0]["id"].as_str().unwrap();
    assert!(wamid.starts_with("wamid.") && answer["messages"][0]["message_status"] == "accepted" && answer["contacts"][0]["wa_id"] == "5511987650001");
    for word in ["sent", "delivered"] {
        let hit = stage.gateway.hit().await;
        let status = hit.status();
        assert_eq!((status["status"].as_str(), status["id"].as_str()), (Some(word), Some(wamid)));
        assert_eq!((status["biz_opaque_callback_data"].as_str(), status["timestamp"].is_string()), (Some(ATTEMPT), true));
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"simulated-app-secret");
        let signature = hex::decode(hit.header("x-hub-signature-256").strip_prefix("sha256=").unwrap()).unwrap();
        aws_lc_rs::hmac::verify(&key, &hit.body, &signature).unwrap();
    }
    let lines = stage.lines_until(|lines| lines.len() == 3).await;
    let Line::Call(call) = &lines[0] else { panic!("the call comes first") };
    assert_eq!((call.attempt_id.as_deref(), call.to.as_str(), call.counts), (Some(ATTEMPT), "5511987650001", true));
    assert_eq!((call.text.as_deref(), call.template.as_deref()), (Some("Maria S.\nR$ 10,00"), Some("pix_30s")));
    assert_eq!(call.text_sha256, hex::encode(script::digest_whole(b"Maria S.\nR$ 10,00")));
    assert!(matches!(&lines[2], Line::Webhook { receipt, .. } if receipt == "delivered"));
}

#[tokio::test]
async fn twilio_signs_the_url_without_its_fragment_and_the_sorted_parameters() {
    let mut stage = stage(|_| {}).await;
    let answer = stage.sms("5511987650001", "#rc=5&rp=all").await.unwrap();
    assert_eq!(answer.status(), 201);
    let sid = answer.json::<Value>().await.unwrap()["sid"].as_str().unwrap().to_owned();
    for word in ["sent", "delivered"] {
        let hit = stage.gateway.hit().await;
        let form = hit.form();
        assert_eq!((form["MessageStatus"].as_str(), form["MessageSid"].as_str(), form["To"].as_str()), (word, sid.as_str(), "+5511987650001"));
        let signed = form.iter().fold(format!("{}/webhooks/twilio/main/sms?a={ATTEMPT}", stage.gateway.url), |signed, (name, value)| signed + name + value);
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"simulated-auth-token");
        let signature = base64::engine::general_purpose::STANDARD.decode(hit.header("x-twilio-signature")).unwrap();
        aws_lc_rs::hmac::verify(&key, signed.as_bytes(), &signature).unwrap();
    }
}

/// What a call gets and which receipts follow, by the behaviour's name. Status 0: no answer at all.
const MET: [(&str, u16, u16, &[&str]); 29] = [
    ("quick", 200, 201, &["sent", "delivered"]),
    ("read", 200, 201, &["sent", "delivered", "read"]),
    ("slow", 200, 201, &["sent", "delivered"]),
    ("late", 200, 201, &["sent", "delivered"]),
    ("double", 200, 201, &["sent", "sent", "delivered", "delivered"]),
    ("reordered", 200, 201, &["read", "delivered", "sent"]),
    ("sent_only", 200, 201, &["sent"]),
    ("silent", 200, 201, &[]),
    ("offline", 200, 201, &["sent"]),
    ("undeliverable", 200, 201, &["failed"]),
    ("failed_then_delivered", 200, 201, &["sent", "failed", "delivered"]),
    ("delivered_then_failed", 200, 201, &["sent", "delivered", "failed"]),
    ("receipt_first", 200, 201, &["sent", "delivered"]),
    ("stray", 200, 201, &["delivered", "delivered", "delivered", "sent", "delivered"]),
    ("rejected", 400, 400, &[]),
    ("held", 200, 201, &[]),
    ("throttled", 429, 429, &[]),
    ("throttled_bare", 429, 429, &[]),
    ("throttled_once", 429, 429, &[]),
    ("unavailable", 500, 400, &[]),
    ("server_error", 500, 500, &[]),
    ("server_error_accepted", 502, 502, &["sent", "delivered"]),
    ("lost_answer", 0, 0, &["sent", "delivered"]),
    ("lost_call", 0, 0, &[]),
    ("hang", 0, 0, &[]),
    ("hang_accepted", 0, 0, &["sent", "delivered"]),
    ("garbage", 200, 201, &["sent", "delivered"]),
    ("no_id", 200, 201, &["sent", "delivered"]),
    ("huge", 200, 201, &["sent", "delivered"]),
];

#[tokio::test]
async fn every_behaviour_is_met_on_whatsapp_and_by_sms() {
    let spoken = ["nobody", "busy"];
    assert!(super::named::NAMES.iter().all(|name| spoken.contains(name) || MET.iter().any(|row| row.0 == *name)), "a name without a row");
    let one = async |name: &'static str, channel: Channel, status: u16, words: &[&str]| {
        let mut stage = stage(|settings| {
            settings.script.phones.insert("5511987650001".into(), alike(name));
            settings.meta.templates.insert("pix_30s".into(), TEMPLATE.clone());
        })
        .await;
        let answer = match channel {
            Channel::Whatsapp => stage.whatsapp(&template("5511987650001")).await,
            _ => stage.sms("5511987650001", "").await,
        };
        assert_eq!(answer.map_or(0, |it| it.status().as_u16()), status, "{name}");
        let mut heard = Vec::new();
        for _ in words {
            let hit = stage.gateway.hit().await;
            heard.push(match channel {
                Channel::Whatsapp => hit.status()["status"].as_str().unwrap().to_owned(),
                _ => hit.form()["MessageStatus"].replace("undelivered", "failed"),
            });
        }
        if name == "reordered" {
            assert_eq!(heard, words, "the order is the point");
        }
        heard.sort_unstable();
        let mut expected = words.to_vec();
        expected.sort_unstable();
        assert_eq!(heard, expected, "{name}");
        let calls: Vec<_> = stage.lines().into_iter().filter(|line| matches!(line, Line::Call(_))).collect();
        let [Line::Call(call)] = &calls[..] else { panic!("{name}: one call") };
        assert_eq!(call.counts, !words.is_empty() || ["silent", "held"].contains(&name), "{name}");
        stage.providers.stop().await;
        assert!(stage.gateway.hits.try_recv().is_err(), "{name}: a webhook too many");
    };
    // All at once: each has a gateway and providers of its own.
    let rows = MET.map(|(name, meta, twilio, words)| async move {
        tokio::join!(one(name, Channel::Whatsapp, meta, words), one(name, Channel::Sms, twilio, words));
    });
    futures_util::future::join_all(rows).await;
}

static TEMPLATE: std::sync::LazyLock<Template> =
    std::sync::LazyLock::new(|| Template { language: "pt_BR".into(), category: Category::Utility, body_parameters: 2, ttl: Duration::from_secs(30) });

#[tokio::test]
async fn a_phone_that_comes_back_after_the_templates_ttl_gets_nothing() {
    let behaviour = Behaviour { receipts: vec![Report::new(Word::Delivered, Duration::from_secs(11))], ..Behaviour::default() };
    let mut stage = stage(|settings| {
        settings.script.phones.insert("5511987650001".into(), Phone { whatsapp: behaviour, ..Phone::default() });
        settings.meta.templates.insert("pix_30s".into(), Template { ttl: Duration::from_secs(10), ..TEMPLATE.clone() });
        settings.meta.templates.insert("pix_1h".into(), Template { ttl: Duration::from_secs(3_600), ..TEMPLATE.clone() });
    })
    .await;
    let mut longer = template("5511987650001");
    longer["template"]["name"] = "pix_1h".into();
    longer["biz_opaque_callback_data"] = "the longer one".into();
    assert_eq!(stage.whatsapp(&template("5511987650001")).await.unwrap().status(), 200);
    assert_eq!(stage.whatsapp(&longer).await.unwrap().status(), 200);
    // Were the first not dropped, it would come before the second.
    assert_eq!(stage.gateway.hit().await.status()["biz_opaque_callback_data"], "the longer one");
}

#[tokio::test]
async fn a_failed_receipt_is_escaped_as_meta_does_and_names_its_code() {
    let mut stage = stage(only("5511987650001", alike("undeliverable"))).await;
    stage.whatsapp(&template("5511987650001")).await.unwrap();
    let hit = stage.gateway.hit().await;
    assert!(hit.body.is_ascii() && String::from_utf8_lossy(&hit.body).contains("N\\u00e3o foi poss\\u00edvel"));
    assert_eq!(hit.status()["errors"][0]["code"], 131_026);
}

#[tokio::test]
async fn meta_repeats_a_webhook_until_it_gets_200_and_only_then_logs_it() {
    let sent_only = alike("sent_only");
    let mut stage = stage(|settings| {
        settings.script.phones.insert("5511987650001".into(), sent_only);
        settings.meta.repeat_first = Duration::from_millis(10);
    })
    .await;
    stage.gateway.answers(&[(503, ""), (204, ""), (200, "")]);
    stage.whatsapp(&template("5511987650001")).await.unwrap();
    let bodies = [stage.gateway.hit().await.body, stage.gateway.hit().await.body];
    assert_eq!(stage.lines().len(), 1, "neither a 503 nor a 204 acknowledges");
    assert!(stage.gateway.hit().await.body == bodies[0] && bodies[0] == bodies[1]);
    assert_eq!(stage.lines_until(|lines| lines.len() == 2).await.len(), 2);
}

#[tokio::test]
async fn twilio_repeats_as_the_fragment_asks_and_gives_up() {
    for (fragment, tries) in [("", 1), ("#rc=2&rp=all", 3), ("#rc=2&rp=5xx&tt=400", 2), ("#rc=5&rp=4xx", 1)] {
        let mut stage = stage(only("5511987650001", alike("sent_only"))).await;
        stage.gateway.answers(&[(503, ""); 9]);
        stage.sms("5511987650001", fragment).await.unwrap();
        for _ in 0..tries {
            assert_eq!(stage.gateway.hit().await.form()["MessageStatus"], "sent");
        }
        let lines = stage.lines_until(|lines| lines.len() == 2).await;
        assert!(matches!(&lines[1], Line::Lost { receipt, .. } if receipt == "sent"), "{fragment}");
        assert!(stage.gateway.hits.try_recv().is_err(), "{fragment}: a try too many");
    }
}

#[tokio::test]
async fn a_call_rings_is_answered_and_hears_the_code_after_a_key() {
    let mut stage = stage(|_| {}).await;
    let second = "<Response><Say language=\"pt-BR\">4 <break time=\"500ms\"/> 8</Say><Hangup/></Response>";
    stage.gateway.answers(&[(200, ""), (200, ""), (200, ""), (200, second)]);
    assert_eq!(stage.call("+5511987650001").await.unwrap().status(), 201);
    let mut heard = Vec::new();
    for _ in 0..5 {
        let hit = stage.gateway.hit().await;
        let form = hit.form();
        heard.push((hit.path.split('?').next().unwrap().rsplit('/').next().unwrap().to_owned(), form["CallStatus"].clone(), form.get("Digits").cloned()));
        if hit.path.contains("voice") {
            let signed = form.iter().fold(format!("{}{}", stage.gateway.url, hit.path), |signed, (name, value)| signed + name + value);
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"simulated-auth-token");
            let signature = base64::engine::general_purpose::STANDARD.decode(hit.header("x-twilio-signature")).unwrap();
            aws_lc_rs::hmac::verify(&key, signed.as_bytes(), &signature).unwrap();
        }
    }
    let said = |path: &str, status: &str, digits: Option<&str>| (path.to_owned(), status.to_owned(), digits.map(str::to_owned));
    let expected = [said("call", "initiated", None), said("call", "ringing", None), said("call", "in-progress", None)];
    assert_eq!(heard[..3], expected);
    assert_eq!(heard[3..], [said("voice", "in-progress", Some("1")), said("call", "completed", None)]);
    let lines = stage.lines_until(|lines| lines.len() == 7).await;
    assert!(lines.iter().any(|line| matches!(line, Line::Spoken { text: Some(text), .. } if text == "4 8")));
}

#[tokio::test]
async fn a_call_that_nobody_takes_or_that_is_busy_is_never_told_the_code() {
    for (name, last) in [("nobody", "no-answer"), ("busy", "busy")] {
        let mut stage = stage(only("5511987650001", alike(name))).await;
        stage.call("+5511987650001").await.unwrap();
        for expected in ["initiated", "ringing", last] {
            assert_eq!(stage.gateway.hit().await.form()["CallStatus"], expected);
        }
        stage.providers.stop().await;
        assert!(stage.gateway.hits.try_recv().is_err());
    }
}

#[tokio::test]
async fn calls_beyond_one_a_second_queue_in_silence() {
    let stage = stage(|settings| settings.twilio.calls_per_second = 1).await;
    let mut queued = Vec::new();
    for _ in 0..3 {
        let answer: Value = stage.call("+5511987650001").await.unwrap().json().await.unwrap();
        queued.push(answer["queue_time"].as_str().unwrap().parse::<u64>().unwrap());
    }
    assert!(queued[0] == 0 && queued[2] > queued[1], "{queued:?}");
}

#[tokio::test]
async fn nothing_is_answered_that_is_not_on_the_disk() {
    let stage = stage(|settings| settings.log = Some("/dev/full".into())).await;
    assert!(stage.whatsapp(&template("5511987650001")).await.is_err(), "answered without a line in the log");
    assert!(stage.providers.world.shutdown.is_cancelled());
}

#[tokio::test]
async fn receipts_that_beat_the_answer_are_acknowledged_before_it_and_follow_the_line_of_their_call() {
    let mut stage = stage(only("5511987650001", alike("receipt_first"))).await;
    stage.whatsapp(&template("5511987650001")).await.unwrap();
    assert!(stage.gateway.hits.try_recv().is_ok() && stage.gateway.hits.try_recv().is_ok(), "both came before the answer");
    let lines = stage.lines();
    assert!(matches!(&lines[..], [Line::Call(_), Line::Webhook { .. }, Line::Webhook { .. }]), "{lines:?}");
}

#[tokio::test]
async fn an_answer_can_be_disturbed_for_the_first_calls_only() {
    let stage = stage(only("5511987650001", alike("throttled_once"))).await;
    let first = stage.whatsapp(&template("5511987650001")).await.unwrap();
    let second = stage.whatsapp(&template("5511987650001")).await.unwrap();
    assert_eq!((first.status().as_u16(), first.text().await.unwrap().as_str(), second.status().as_u16()), (429, "", 200));
}

#[tokio::test]
async fn an_outage_and_a_rate_limit_spare_nobody() {
    let outage = Outage {
        provider: Provider::Meta,
        from: Duration::ZERO,
        until: Duration::from_secs(360_000),
        answer: Answer::Error { code: 131_057, status: None, retry_after_secs: None },
    };
    let stage = stage(|settings| {
        settings.script.outages.push(outage);
        settings.twilio.requests_per_second = Some(0);
    })
    .await;
    let answer = stage.whatsapp(&template("5511987650001")).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.json::<Value>().await.unwrap()["error"]["code"].clone()), (500, json!(131_057)));
    let answer = stage.sms("5511987650001", "").await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (429, "1"));
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], 20_429);
}

#[tokio::test]
async fn meta_packs_statuses_into_one_post_when_told_to() {
    let mut stage = stage(|settings| {
        settings.meta.batch_updates_max = 1_000;
        settings.meta.batch_pause = Duration::from_secs(1);
        settings.script.otherwise = alike("sent_only");
    })
    .await;
    for number in 1..=5 {
        stage.whatsapp(&template(&format!("551198765000{number}"))).await.unwrap();
    }
    let body: Value = serde_json::from_slice(&stage.gateway.hit().await.body).unwrap();
    assert_eq!(body["entry"][0]["changes"][0]["value"]["statuses"].as_array().unwrap().len(), 5);
    assert_eq!(stage.lines_until(|lines| lines.len() == 10).await.len(), 10, "five calls, five receipts");
}

#[tokio::test]
async fn no_more_webhooks_are_under_way_than_are_allowed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let webhook = format!("http://{}/", listener.local_addr().unwrap());
    let (sender, mut hits) = mpsc::unbounded_channel();
    let answer = async move || {
        let (answer, told) = tokio::sync::oneshot::channel::<()>();
        sender.send(answer).unwrap();
        drop(told.await);
    };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
    let stage = stage(|settings| (settings.meta.webhook, settings.webhooks_under_way_max) = (webhook, 2)).await;
    for number in 1..=4 {
        stage.whatsapp(&template(&format!("551198765000{number}"))).await.unwrap();
    }
    let mut under_way = VecDeque::from([hits.recv().await.unwrap(), hits.recv().await.unwrap()]);
    for _ in 3..=4 {
        assert!(tokio::time::timeout(Duration::from_millis(200), hits.recv()).await.is_err(), "a third one while two are not answered");
        drop(under_way.pop_front());
        under_way.push_back(hits.recv().await.unwrap());
    }
    drop(under_way);
    stage.lines_until(|lines| lines.len() == 8).await;
}

#[tokio::test]
async fn the_handshake_demands_the_challenge_back() {
    let stage = stage(|_| {}).await;
    stage.providers.subscribe("the token").await.unwrap();
    let elsewhere = self::stage(|settings| settings.meta.webhook = format!("{}/nobody", stage.providers.base_url())).await;
    assert!(elsewhere.providers.subscribe("the token").await.is_err());
}

#[tokio::test]
async fn a_simulator_of_its_own_reads_toml_and_ends_in_order() {
    let text = "listen = \"127.0.0.1:0\"\ntime_factor = 0.1\n[meta]\nwebhook = \"http://127.0.0.1:1/\"\n[meta.templates.pix_30s]\nlanguage = \"pt_BR\"\n\
                category = \"utility\"\nbody_parameters = 2\nttl = \"30s\"\n[script]\nseed = 7\n[script.phones.5511987650001]\nwhatsapp = \"offline\"\n\
                sms = { answer = { error = { code = 21614 } } }\n";
    let settings: Settings = toml::from_str(text).unwrap();
    let phone = settings.script.phone("+5511987650001");
    assert_eq!((phone.whatsapp.clone(), phone.sms.answer.code()), (Behaviour::named("offline").unwrap(), 21_614));
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(run(settings, shutdown.clone()));
    shutdown.cancel();
    running.await.unwrap().unwrap();
    let elsewhere = Settings { listen: "0.0.0.0:0".parse().unwrap(), ..Settings::default() };
    assert!(Providers::start(elsewhere).await.is_err(), "loopback only");
}

#[test]
fn a_script_survives_toml_and_draws_alike_for_the_same_seed() {
    let mix = vec![Weighted { weight: 1, phone: alike("offline") }, Weighted { weight: 3, phone: alike("late") }];
    let script = Script { seed: 42, mix, ..Script::default() };
    let back: Script = toml::from_str(&toml::to_string(&script).unwrap()).unwrap();
    assert_eq!(back, script);
    let numbers: Vec<String> = (0..400).map(|it| format!("55119876{it:05}")).collect();
    let late = numbers.iter().filter(|it| *script.phone(it) == alike("late")).count();
    assert!((250..350).contains(&late), "{late} of 400 by weight 3 of 4");
    let other = Script { seed: 43, ..script.clone() };
    assert!(numbers.iter().any(|it| script.phone(it) != other.phone(it)), "another seed, the same draws");
    assert!(toml::from_str::<Phone>("whatsapp = \"unheard of\"").is_err());
    assert!(super::named::NAMES.iter().all(|name| Behaviour::named(name).is_some()) && Behaviour::named("unheard of").is_none());
}

#[test]
fn a_line_that_was_cut_off_is_no_line_and_a_foreign_one_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let whole = Line::Webhook { time_ms: 1, channel: Channel::Sms, attempt_id: None, receipt: "sent".into(), code: 0 };
    let text = serde_json::to_string(&whole).unwrap();
    std::fs::write(&path, format!("{text}\n{}", &text[..20])).unwrap();
    assert_eq!(SendLog::read(&path).unwrap(), [whole]);
    std::fs::write(&path, format!("{text}\n{{}}\n{text}\n")).unwrap();
    assert!(SendLog::read(&path).unwrap_err().to_string().contains("line 2"));
}
