//! What `/metrics` gives, judged by Prometheus' own `promtool`.

use crate::parts::part;
use crate::support::repository;
use recado::delivery::{
    Attempt, Channel, Hold, Lane, MessageId, Outcome, Partition, Reason, Receipt, SourcePosition, Status, StatusWord, TimerKind, Timestamp, Why,
};
use recado::observe::{self, Health};
use recado::privacy::{Class, KeyKind};
use recado::template::{RenderError, Rule};
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn promtool_finds_nothing_wrong_with_any_metric() {
    touch_all();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(observe::serve(listener, Health::new(), std::future::pending()));
    let text = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();

    let told: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let untouched: Vec<String> = declared().into_iter().filter(|name| !told.contains(name.as_str())).collect();
    assert!(untouched.is_empty(), "touch these metrics here too: {untouched:?}");
    assert!(told.len() > 50, "{told:?}");

    let verdict = promtool(&text);
    let words = format!("{}{}", String::from_utf8_lossy(&verdict.stdout), String::from_utf8_lossy(&verdict.stderr));
    assert!(verdict.status.success() && words.trim().is_empty(), "{words}");
}

#[test]
fn promtool_finds_what_is_wrong() {
    for text in ["# HELP recado_sent Sent.\n# TYPE recado_sent counter\nrecado_sent 1\n", "# TYPE recado_lag_ms gauge\nrecado_lag_ms 1\n"] {
        assert!(!promtool(text).status.success(), "{text}");
    }
}

fn promtool(text: &str) -> Output {
    let mut child = Command::new(part("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The names that stand in `src/observe/`.
fn declared() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(repository().join("src/observe")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let name = |rest: &str| rest.split('"').next().filter(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')).map(str::to_owned);
        names.extend(text.split("\"recado_").skip(1).filter_map(name).map(|rest| format!("recado_{rest}")));
    }
    assert!(names.len() > 50, "the names stand somewhere else now: {names:?}");
    names
}

fn touch_all() {
    engine();
    dispatcher();
    gateway();
    observe::event::registry_request("found");
    observe::event::schemas_waited_for(1);
    observe::privacy::keys_created(KeyKind::Customer, 1);
    observe::privacy::keys_destroyed(KeyKind::CodeEpoch, 1);
    observe::privacy::key_unavailable();
    observe::template::refused(RenderError::Scan(Rule::Cpf), "pix_recebido", Channel::Sms);
    observe::template::masked_unfit(Class::Cpf);
}

fn engine() {
    use observe::engine;
    let now = Timestamp::from_millis(1_764_900_000_000);
    let id = MessageId::derive(now, &SourcePosition { topic: "pix.transactions".into(), partition: Partition(0), offset: 0 }, 0);
    let first = Attempt::FIRST;
    let status = Status {
        seq: 1,
        word: StatusWord::Delivered,
        attempt: Some(first),
        channel: Some(Channel::Sms),
        reason: Reason::None,
        code: 0,
        provider_time: None,
        double_delivered: true,
        hold: Hold::No,
    };
    let before = |reason| Some((Channel::WhatsApp, Why { reason, from: first, hold: Hold::No }));
    engine::dispatched(first, Channel::WhatsApp, Lane::Express, None);
    engine::dispatched(Attempt { step: 2, n: 1 }, Channel::Sms, Lane::Express, before(Reason::Timer));
    engine::dispatched(Attempt { step: 1, n: 2 }, Channel::WhatsApp, Lane::Express, before(Reason::TooLate));
    engine::cancel("codes", "delivery");
    engine::fields_dropped("pix", 1);
    engine::status(&status, Lane::Express, now.plus(Duration::from_secs(2)), id);
    engine::timer_fired(TimerKind::Wait, Duration::from_millis(3));
    engine::committed(Duration::from_millis(9), 10, 30);
    engine::producer_recycled("slow");
    engine::rebuilt("corrupt");
    engine::oddity("behind");
    engine::duplicate("pix");
    engine::ignored("pix", "no_route");
    engine::held_back("pix");
    engine::receipt_astray();
    engine::dead_letter("not_avro");
    engine::gauges(0, 1, 1);
    engine::held(0, [Hold::Storm].into_iter());
    engine::lag_records(0, "pix.transactions", 5);
    engine::lag_seconds(0, "pix.transactions", Duration::from_millis(40));
    engine::tasks(0, 8);
    observe::dry_run::record("pix", "dispatched");
    observe::dry_run::message("pix.received", Channel::Sms, "rendered");
}

fn dispatcher() {
    use observe::dispatch;
    dispatch::ended(Channel::Voice, Outcome::Accepted);
    dispatch::in_hand(Channel::Voice, Lane::Express, 1);
    dispatch::paused(Channel::Voice, Lane::Express, false);
    dispatch::bad_record("journal");
    drop(dispatch::call(Channel::Voice, Lane::Express));
    dispatch::call_took(Channel::Voice, Duration::from_millis(80));
    dispatch::call_repeated(Channel::Voice, Outcome::Throttled);
    dispatch::attention(Channel::Voice, "page");
    dispatch::breaker("twilio", true);
    dispatch::template_breaker(Channel::WhatsApp, "pix_recebido", true);
    dispatch::read_back(Duration::from_millis(4));
    dispatch::clocks(Some((-3, 4)), false);
    dispatch::partitions(8);
    dispatch::tls_1_2("twilio", true);
}

fn gateway() {
    use observe::gateway;
    gateway::webhook("meta", "accepted");
    gateway::webhook_took("meta", Duration::from_millis(5));
    gateway::receipt(Channel::WhatsApp, Receipt::Delivered);
    gateway::skipped(Channel::WhatsApp, "foreign", 1);
    gateway::inbound(1);
    gateway::account_error();
    gateway::unlisted_code(Channel::WhatsApp);
    gateway::spoken_code("said");
    gateway::heartbeat(true);
    gateway::connection_refused("address");
    gateway::connection_cut("silent");
    drop(gateway::connection());
}
