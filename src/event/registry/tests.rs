//! The client against a small registry of our own, over HTTP.

use super::*;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use std::sync::Mutex;

const SCHEMA: &str = r#"{"type": "record", "name": "b.Main", "fields": [{"name": "part", "type": "b.Part"}]}"#;
const PART: &str = r#"{"type": "record", "name": "b.Part", "fields": [{"name": "x", "type": "string"}]}"#;

/// What the registry does; shared with the test.
#[derive(Default)]
struct Fake {
    /// It answers 503 so many times.
    down: u32,
    /// It says so many times that it does not know id 2.
    behind: u32,
    /// Nobody may write.
    read_only: bool,
    /// The credentials that it wants.
    credentials: Option<&'static str>,
    calls: Vec<String>,
}

type Shared = Arc<Mutex<Fake>>;

fn error(status: StatusCode, code: u32) -> Response {
    (status, Json(json!({ "error_code": code, "message": "no" }))).into_response()
}

fn enter(fake: &Shared, headers: &HeaderMap, call: String) -> Option<Response> {
    let mut fake = fake.lock().unwrap();
    fake.calls.push(call);
    if fake.down > 0 {
        fake.down -= 1;
        return Some(error(StatusCode::SERVICE_UNAVAILABLE, 50_003));
    }
    let given = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let wanted = fake.credentials.map(|pair| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)));
    (given != wanted).then(|| error(StatusCode::UNAUTHORIZED, 401))
}

async fn by_id(State(fake): State<Shared>, headers: HeaderMap, Path(id): Path<u32>) -> Response {
    if let Some(refusal) = enter(&fake, &headers, format!("id {id}")) {
        return refusal;
    }
    match id {
        1 => Json(json!({ "schema": SCHEMA, "references": [{ "name": "b.Part", "subject": "parts/b", "version": 3 }] })).into_response(),
        2 => {
            let mut fake = fake.lock().unwrap();
            if fake.behind > 0 {
                fake.behind -= 1;
                return error(StatusCode::NOT_FOUND, 40_403);
            }
            Json(json!({ "schema": PART })).into_response()
        }
        3 => Json(json!({ "schema": "syntax = \"proto3\";", "schemaType": "PROTOBUF" })).into_response(),
        4 => Json(json!({ "schema": "x".repeat(BODY_BYTES_MAX + 1) })).into_response(),
        5 => StatusCode::NOT_FOUND.into_response(),
        _ => error(StatusCode::NOT_FOUND, 40_403),
    }
}

async fn by_version(State(fake): State<Shared>, headers: HeaderMap, Path((subject, version)): Path<(String, u32)>) -> Response {
    if let Some(refusal) = enter(&fake, &headers, format!("{subject} {version}")) {
        return refusal;
    }
    Json(json!({ "subject": subject, "version": version, "id": 11, "schema": PART })).into_response()
}

async fn register(State(fake): State<Shared>, headers: HeaderMap, Path(subject): Path<String>, body: String) -> Response {
    if let Some(refusal) = enter(&fake, &headers, format!("register {subject}")) {
        return refusal;
    }
    if fake.lock().unwrap().read_only {
        return error(StatusCode::FORBIDDEN, 40_301);
    }
    let schema: serde_json::Value = serde_json::from_str(&body).unwrap();
    if schema["schema"] == PART { Json(json!({ "id": 42 })).into_response() } else { error(StatusCode::CONFLICT, 409) }
}

async fn look_up(State(fake): State<Shared>, headers: HeaderMap, Path(subject): Path<String>, body: String) -> Response {
    if let Some(refusal) = enter(&fake, &headers, format!("look up {subject}")) {
        return refusal;
    }
    let schema: serde_json::Value = serde_json::from_str(&body).unwrap();
    if schema["schema"] == PART { Json(json!({ "id": 42, "version": 1 })).into_response() } else { error(StatusCode::NOT_FOUND, 40_403) }
}

/// A registry below a path, as Apicurio's is.
async fn start() -> (Shared, Settings) {
    let fake = Shared::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}{BELOW}", listener.local_addr().unwrap());
    let routes = routes(&fake);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (fake, Settings { url, credentials_file: None, ca_file: None, timeout: Duration::from_secs(5) })
}

const BELOW: &str = "/apis/ccompat/v7";

fn routes(fake: &Shared) -> Router {
    let routes = Router::new()
        .route("/schemas/ids/{id}", get(by_id))
        .route("/subjects/{subject}/versions/{version}", get(by_version))
        .route("/subjects/{subject}/versions", post(register))
        .route("/subjects/{subject}", post(look_up))
        .with_state(Arc::clone(fake));
    Router::new().nest(BELOW, routes)
}

/// The same behind TLS, with a certificate of an authority that no system knows. Returns the authority's own as PEM.
async fn start_with_own_authority() -> (Settings, String) {
    let authority = Authority::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority.0).unwrap();
    let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&tokio_rustls::rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}{BELOW}", listener.local_addr().unwrap());
    let listener = Tls { listener, acceptor: tokio_rustls::TlsAcceptor::from(Arc::new(config)) };
    let routes = routes(&Shared::default());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (Settings { url, credentials_file: None, ca_file: None, timeout: Duration::from_secs(5) }, authority.pem())
}

struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }
}

struct Tls {
    listener: tokio::net::TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            // Whoever does not trust the certificate goes away.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

async fn client(settings: Settings) -> (SchemaCache, Client) {
    let (cache, mut client) = open(settings).await.unwrap();
    let blink = Duration::from_millis(5);
    client.pace = Pace { first: blink, max: blink, unknown: blink, forget: Duration::from_secs(3600) };
    (cache, client)
}

/// Asks until there is an answer.
async fn answer(cache: &SchemaCache, id: u32) -> WriterSchema {
    for _ in 0..1000 {
        match cache.writer(id) {
            WriterSchema::Missing => tokio::time::sleep(Duration::from_millis(5)).await,
            other => return other,
        }
    }
    panic!("no answer for schema {id}");
}

/// Waits until the cache says that the registry is away.
async fn away(cache: &SchemaCache) {
    for _ in 0..5000 {
        if cache.away() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("the registry is not away");
}

#[tokio::test]
async fn a_schema_is_asked_for_once_and_comes_with_what_it_names() {
    let (fake, settings) = start().await;
    let (cache, client) = client(settings).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(client.run(stop.clone()));
    assert!(matches!(cache.writer(1), WriterSchema::Missing));
    assert!(matches!(cache.writer(1), WriterSchema::Missing), "it is asked for once, however often records ask");
    assert!(matches!(answer(&cache, 1).await, WriterSchema::Known(_)));
    assert_eq!(cache.arrivals(), 1);
    assert_eq!(cache.waiting(), 0);
    assert_eq!(fake.lock().unwrap().calls, ["id 1", "parts/b 3"]);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_registry_that_is_away_is_waited_for_and_says_so() {
    let (fake, settings) = start().await;
    fake.lock().unwrap().down = 50;
    let (cache, client) = client(settings).await;
    tokio::spawn(client.run(CancellationToken::new()));
    assert!(!cache.away());
    assert!(matches!(cache.writer(1), WriterSchema::Missing));
    away(&cache).await;
    assert!(matches!(answer(&cache, 1).await, WriterSchema::Known(_)));
    assert!(!cache.away());
}

#[tokio::test]
async fn an_id_is_unknown_only_when_the_registry_says_so_three_times() {
    let (fake, settings) = start().await;
    fake.lock().unwrap().behind = 2;
    let (cache, client) = client(settings).await;
    tokio::spawn(client.run(CancellationToken::new()));
    assert!(matches!(answer(&cache, 2).await, WriterSchema::Known(_)), "a follower learned it a moment late");
    assert!(matches!(answer(&cache, 99).await, WriterSchema::Unknown));
    let calls = fake.lock().unwrap().calls.iter().filter(|call| *call == "id 99").count();
    assert_eq!(calls, 3);
    assert!(!cache.away(), "it answers");
}

#[tokio::test]
async fn a_404_that_is_not_the_registrys_own_is_a_registry_away() {
    let (_, settings) = start().await;
    let (cache, client) = client(settings).await;
    tokio::spawn(client.run(CancellationToken::new()));
    assert!(matches!(cache.writer(5), WriterSchema::Missing));
    away(&cache).await;
    assert!(matches!(cache.writer(5), WriterSchema::Missing));
}

#[tokio::test]
async fn what_is_no_avro_schema_is_unreadable() {
    let (_, settings) = start().await;
    let (cache, client) = client(settings).await;
    tokio::spawn(client.run(CancellationToken::new()));
    assert!(matches!(answer(&cache, 3).await, WriterSchema::Unreadable));
    assert!(matches!(answer(&cache, 4).await, WriterSchema::Unreadable), "an answer without end");
}

#[tokio::test]
async fn a_schema_is_registered_or_refused() {
    let (_, settings) = start().await;
    let (_, client) = client(settings).await;
    assert_eq!(client.register("recado.status-value", PART).await, Ok(42));
    assert_eq!(client.register("recado.status-value", SCHEMA).await, Err(RegistryError::Refused { status: 409, code: 409 }));
    let (_, nobody) = self::client(Settings { url: "http://127.0.0.1:1".into(), credentials_file: None, ca_file: None, timeout: Duration::from_secs(1) }).await;
    assert!(matches!(nobody.register("s", PART).await, Err(RegistryError::Away(_))));
}

#[tokio::test]
async fn a_user_that_may_only_read_finds_what_is_registered_and_is_told_what_is_not() {
    let (fake, settings) = start().await;
    fake.lock().unwrap().read_only = true;
    let (_, client) = client(settings).await;
    assert_eq!(client.register("recado.status-value", PART).await, Ok(42));
    assert_eq!(client.register("recado.status-value", SCHEMA).await, Err(RegistryError::Away(MAY_NOT_WRITE)));
}

#[tokio::test]
async fn credentials_come_from_a_file_are_read_again_when_refused_and_do_not_print() {
    let (fake, mut settings) = start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("registry");
    tokio::fs::write(&file, "recado:old\n").await.unwrap();
    settings.credentials_file = Some(file.clone());
    let (cache, client) = client(settings).await;
    fake.lock().unwrap().credentials = Some("recado:new");
    let printed = format!("{client:?}");
    assert!(!printed.contains("old") && !printed.contains(&base64::engine::general_purpose::STANDARD.encode("recado:old")), "{printed}");
    tokio::fs::write(&file, "# since November\nrecado:new\nrecado:old\n").await.unwrap();
    tokio::spawn(client.run(CancellationToken::new()));
    assert!(matches!(answer(&cache, 1).await, WriterSchema::Known(_)), "the second try has the new password");
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_refused() {
    let bad = |url: &str| Settings { url: url.into(), credentials_file: None, ca_file: None, timeout: Duration::from_secs(1) };
    assert!(open(bad("registry")).await.is_err());
    assert!(open(bad("ftp://registry")).await.is_err());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("registry");
    tokio::fs::write(&file, "no colon").await.unwrap();
    let refused = open(Settings { credentials_file: Some(file), ..bad("http://registry") }).await.err().unwrap();
    assert!(refused.to_string().ends_with("must hold user:password"), "{refused}");
}

#[tokio::test]
async fn a_registry_of_the_banks_own_authority_is_believed_when_its_file_says_so() {
    let (settings, authority) = start_with_own_authority().await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let with = |ca_file: Option<PathBuf>| Settings { ca_file, ..settings.clone() };
    // A bundle may hold more than the one that is needed.
    let (cache, client) = client(with(Some(file("both", &format!("{}{authority}", Authority::new().pem()))))).await;
    assert_eq!(client.register("recado.status-value", PART).await, Ok(42));
    tokio::spawn(client.run(CancellationToken::new()));
    assert!(matches!(answer(&cache, 2).await, WriterSchema::Known(_)));

    for distrusted in [None, Some(file("other", &Authority::new().pem()))] {
        let (_, client) = self::client(with(distrusted)).await;
        assert_eq!(client.register("recado.status-value", PART).await, Err(RegistryError::Away("no connection")));
    }
}

#[test]
fn a_file_of_authorities_is_told_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let told = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        authorities(&path).map(|found| found.len())
    };
    let pem = Authority::new().pem();
    assert_eq!(told("good", &format!("# the bank's\n{pem}{pem}")), Ok(2));
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    for (name, text) in [("empty", String::new()), ("words", "no certificate".to_owned()), ("key", key), ("cut", pem[..pem.len() / 2].to_owned())] {
        assert!(told(name, &text).unwrap_err().ends_with("holds no certificates in PEM."), "{name}");
    }
    let broken = "-----BEGIN CERTIFICATE-----\naGFsbG8=\n-----END CERTIFICATE-----\n";
    assert!(told("broken", broken).unwrap_err().contains("no certificate of an authority"));
    assert!(authorities(&folder.path().join("absent")).unwrap_err().contains("cannot be read"));
    assert!(authorities(folder.path()).unwrap_err().contains("is no file"));
}
