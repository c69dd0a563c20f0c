//! The client of a Confluent-compatible schema registry. Enter: schema ids that records carry, asked for by the engine's threads; leave: schemas in a cache
//! that those threads read. Once at start it also registers the schema of what the bank reads.
//!
//! What is easily got wrong: an id that the registry does not know is a dead letter, a registry that is away is a pause. A 404 means the first only when it
//! comes with the registry's own error number, three times: a wrong address answers 404 too, and a follower may learn an id a moment late.

use super::input::{Schemas, Writer, WriterSchema};
use crate::observe;
use anyhow::Context;
use base64::Engine;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// Where the registry is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its address; a path (Apicurio's `/apis/ccompat/v7`) is kept.
    pub url: String,
    /// A file with `user:password`; `None` where the registry asks for none. Read at start and again when the registry refuses what was read.
    pub credentials_file: Option<PathBuf>,
    /// PEM certificates of the authorities that the registry's own comes from; `None` for the system's.
    pub ca_file: Option<PathBuf>,
    /// How long one request may take.
    pub timeout: Duration,
}

/// Why a request brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// It cannot be reached, is not well, or does not let us in. Worth another try.
    #[error("the schema registry does not answer ({0})")]
    Away(&'static str),
    /// It has no such schema.
    #[error("the schema registry does not know it")]
    Unknown,
    /// It will not take the schema: incompatible with an earlier version (409), or not one at all (422). Final.
    #[error("the schema registry refuses the schema (status {status}, error {code})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The registry's own number; 0 for none.
        code: u32,
    },
    /// What it gave cannot be used. Final for a schema id.
    #[error("the schema registry gave something else than an Avro schema that Recado reads")]
    Unreadable,
}

impl RegistryError {
    const fn word(&self) -> &'static str {
        match self {
            Self::Away(_) => "away",
            Self::Unknown => "unknown",
            Self::Refused { .. } => "refused",
            Self::Unreadable => "unreadable",
        }
    }
}

/// No file of authorities is longer: a system's whole bundle has 300 KiB.
const AUTHORITIES_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// No answer of a registry is longer.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// No schema names more others, directly and through them.
const REFERENCES_MAX: usize = 64;
/// Ids that wait to be asked for. An id that finds no room is asked for again with its next record.
const QUEUE_MAX: usize = 1024;
/// Requests under way at once.
const REQUESTS_MAX: usize = 4;
/// So often the registry says that it does not know an id before it is believed.
const UNKNOWN_TIMES: u32 = 3;

const REFUSES_US: &str = "it refuses our credentials";
const MAY_NOT_WRITE: &str = "our user may not register schemas there, and nobody else has registered this one";

/// How long to wait between requests.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// After a first failure; doubles.
    first: Duration,
    /// No longer than this.
    max: Duration,
    /// Between two times that an id is unknown.
    unknown: Duration,
    /// For so long an unknown id stays unknown without being asked for again.
    forget: Duration,
}

const PACE: Pace = Pace { first: Duration::from_millis(200), max: Duration::from_secs(10), unknown: Duration::from_secs(1), forget: Duration::from_secs(60) };

/// The schemas that are known, as the engine's threads see them. Clones share one cache.
#[derive(Clone, Debug)]
pub struct SchemaCache {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    entries: RwLock<BTreeMap<u32, WriterSchema>>,
    queue: mpsc::Sender<u32>,
    arrivals: AtomicU64,
    away: AtomicBool,
}

impl Schemas for SchemaCache {
    fn writer(&self, id: u32) -> WriterSchema {
        if let Some(entry) = self.shared.entries.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return entry.clone();
        }
        let mut entries = self.shared.entries.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(&id) {
            return entry.clone();
        }
        if self.shared.queue.try_send(id).is_ok() {
            entries.insert(id, WriterSchema::Missing);
        }
        WriterSchema::Missing
    }

    fn unanswered(&self) -> Option<usize> {
        self.away().then(|| self.waiting())
    }
}

impl SchemaCache {
    /// Counts up with every answer that came in. A thread with paused partitions tries them again when it has changed.
    pub fn arrivals(&self) -> u64 {
        self.shared.arrivals.load(Ordering::Acquire)
    }

    /// Whether the last request brought no answer. For `/readyz`; records with known ids are processed all the same.
    pub fn away(&self) -> bool {
        self.shared.away.load(Ordering::Relaxed)
    }

    /// How many ids wait for an answer.
    pub fn waiting(&self) -> usize {
        let entries = self.shared.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.values().filter(|entry| matches!(entry, WriterSchema::Missing)).count()
    }

    fn put(&self, id: u32, entry: WriterSchema) {
        self.shared.entries.write().unwrap_or_else(PoisonError::into_inner).insert(id, entry);
        self.shared.arrivals.fetch_add(1, Ordering::Release);
        observe::event::schemas_waited_for(self.waiting());
    }

    fn forget(&self, id: u32) {
        self.shared.entries.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    fn note(&self, away: bool) {
        if self.shared.away.swap(away, Ordering::Relaxed) != away {
            if away {
                tracing::warn!("The schema registry does not answer. Inputs with schemas that are not known yet wait.");
            } else {
                tracing::info!("The schema registry answers again.");
            }
        }
    }
}

/// The one that asks. It runs beside the engine; the cache is what the engine holds of it.
#[derive(Debug)]
pub struct Client {
    http: Http,
    cache: SchemaCache,
    queue: mpsc::Receiver<u32>,
    pace: Pace,
}

/// Makes a client and its cache. Asks nothing yet; fails only where the settings themselves cannot be used (address, files).
pub async fn open(settings: Settings) -> anyhow::Result<(SchemaCache, Client)> {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let shared = Shared { entries: RwLock::default(), queue: sender, arrivals: AtomicU64::new(0), away: AtomicBool::new(false) };
    let cache = SchemaCache { shared: Arc::new(shared) };
    let client = Client { http: Http::new(settings).await?, cache: cache.clone(), queue, pace: PACE };
    Ok((cache, client))
}

impl Client {
    /// Registers a schema under a subject (`<topic>-value`) and returns its id. The same schema again gives the same id.
    ///
    /// One try; a registry that is away is for the caller to wait for. Where our user may not write, it is enough that the subject has the schema already.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        let result = self.http.register(subject, schema).await;
        self.cache.note(matches!(result, Err(RegistryError::Away(_))));
        observe::event::registry_request(result.as_ref().map_or_else(RegistryError::word, |_| "registered"));
        result
    }

    /// Answers the cache's questions until `shutdown`. A registry that is away is asked again with back-off, for as long as it takes.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let permits = Arc::new(Semaphore::new(REQUESTS_MAX));
        let http = Arc::new(self.http);
        let mut fetches = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(id) = self.queue.recv() => {
                    observe::event::schemas_waited_for(self.cache.waiting());
                    fetches.spawn(fetch(id, Arc::clone(&http), self.cache.clone(), Arc::clone(&permits), self.pace));
                }
                Some(_) = fetches.join_next() => {}
            }
        }
    }
}

async fn fetch(id: u32, http: Arc<Http>, cache: SchemaCache, permits: Arc<Semaphore>, pace: Pace) {
    let mut unknown = 0;
    let mut pause = pace.first;
    loop {
        let result = {
            let _permit = permits.acquire().await;
            http.writer(id).await
        };
        cache.note(matches!(result, Err(RegistryError::Away(_))));
        observe::event::registry_request(result.as_ref().map_or_else(RegistryError::word, |_| "found"));
        match result {
            Ok(writer) => return cache.put(id, WriterSchema::Known(Arc::new(writer))),
            Err(RegistryError::Unreadable | RegistryError::Refused { .. }) => {
                tracing::warn!(schema_id = id, "The schema registry gave no Avro schema that Recado reads. Records with it become dead letters.");
                return cache.put(id, WriterSchema::Unreadable);
            }
            Err(RegistryError::Unknown) => {
                unknown += 1;
                if unknown == UNKNOWN_TIMES {
                    tracing::warn!(schema_id = id, "The schema registry does not know this schema. Records with it become dead letters.");
                    cache.put(id, WriterSchema::Unknown);
                    tokio::time::sleep(pace.forget).await;
                    return cache.forget(id);
                }
                tokio::time::sleep(pace.unknown).await;
            }
            Err(RegistryError::Away(_)) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(pace.max);
            }
        }
    }
}

/// Whether this is `user:password`.
pub fn is_pair(line: &str) -> bool {
    line.split_once(':').is_some_and(|(user, password)| !user.is_empty() && !password.is_empty())
}

/// The certificates of a file of authorities, PEM; at least one.
///
/// Errors: one sentence. The file cannot be read, or holds something else: a certificate that is broken would else be found by nobody but the registry's TLS.
pub fn authorities(file: &Path) -> Result<Vec<reqwest::Certificate>, String> {
    let name = file.display();
    let about = std::fs::metadata(file).map_err(|error| format!("The file {name} cannot be read ({}).", error.kind()))?;
    if !about.is_file() || about.len() > AUTHORITIES_BYTES_MAX {
        return Err(format!("{name} is no file of certificates."));
    }
    let pem = std::fs::read(file).map_err(|error| format!("The file {name} cannot be read ({}).", error.kind()))?;
    let none = || format!("The file {name} holds no certificates in PEM.");
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| none())?;
    if certificates.is_empty() {
        return Err(none());
    }
    let taken = reqwest::Client::builder().tls_certs_only(certificates.clone()).build();
    taken.map(|_| certificates).map_err(|_| format!("The file {name} holds something in PEM that is no certificate of an authority."))
}

/// The registry's HTTP.
#[derive(Debug)]
struct Http {
    client: reqwest::Client,
    url: Url,
    credentials_file: Option<PathBuf>,
    /// Marked sensitive: it does not print.
    authorization: RwLock<Option<HeaderValue>>,
}

#[derive(Deserialize)]
struct SchemaAnswer {
    schema: String,
    #[serde(default, rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    references: Option<Vec<ReferenceAnswer>>,
}

#[derive(Deserialize)]
struct ReferenceAnswer {
    subject: String,
    version: u32,
}

#[derive(Deserialize)]
struct IdAnswer {
    id: u32,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error_code: u32,
}

impl Http {
    async fn new(settings: Settings) -> anyhow::Result<Self> {
        let url = Url::parse(&settings.url).context("schema_registry.url is no address")?;
        anyhow::ensure!(matches!(url.scheme(), "http" | "https") && url.has_host(), "schema_registry.url must begin with https:// or http://");
        let mut builder = reqwest::Client::builder().timeout(settings.timeout).redirect(reqwest::redirect::Policy::none()).no_proxy();
        if let Some(file) = &settings.ca_file {
            builder = builder.tls_certs_only(authorities(file).map_err(anyhow::Error::msg).context("schema_registry.ca_file")?);
        }
        let client = builder.build().context("no HTTP client for the registry")?;
        let http = Self { client, url, credentials_file: settings.credentials_file, authorization: RwLock::default() };
        http.read_credentials().await?;
        Ok(http)
    }

    async fn read_credentials(&self) -> anyhow::Result<()> {
        let Some(file) = &self.credentials_file else { return Ok(()) };
        let text = tokio::fs::read_to_string(file)
            .await
            .map(Zeroizing::new)
            .with_context(|| format!("schema_registry.credentials_file {} cannot be read", file.display()))?;
        // As in every file of secrets: remarks are no secrets, and the first line counts.
        let pair = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
        anyhow::ensure!(is_pair(pair), "schema_registry.credentials_file must hold user:password");
        let basic = Zeroizing::new(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)));
        let mut header = HeaderValue::from_str(&basic).context("base64 is legal in a header")?;
        header.set_sensitive(true);
        *self.authorization.write().unwrap_or_else(PoisonError::into_inner) = Some(header);
        Ok(())
    }

    async fn writer(&self, id: u32) -> Result<Writer, RegistryError> {
        let main: SchemaAnswer = self.call(Method::GET, &["schemas", "ids", &id.to_string()], None).await?;
        if main.schema_type.is_some_and(|word| word != "AVRO") {
            return Err(RegistryError::Unreadable);
        }
        let mut open = main.references.unwrap_or_default();
        let mut seen = BTreeMap::new();
        while let Some(ReferenceAnswer { subject, version }) = open.pop() {
            if seen.contains_key(&(subject.clone(), version)) {
                continue;
            }
            if seen.len() == REFERENCES_MAX {
                return Err(RegistryError::Unreadable);
            }
            let answer: SchemaAnswer = self.call(Method::GET, &["subjects", &subject, "versions", &version.to_string()], None).await?;
            open.extend(answer.references.unwrap_or_default());
            seen.insert((subject, version), answer.schema);
        }
        let references: Vec<String> = seen.into_values().collect();
        Writer::parse(&main.schema, &references).map_err(|_| RegistryError::Unreadable)
    }

    async fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        let body = serde_json::json!({ "schema": schema }).to_string();
        let written: Result<IdAnswer, _> = self.call(Method::POST, &["subjects", subject, "versions"], Some(body.clone())).await;
        let answer = match written {
            // A user that may only read finds what somebody with more rights has registered.
            Err(RegistryError::Away(REFUSES_US)) => match self.call(Method::POST, &["subjects", subject], Some(body)).await {
                Err(RegistryError::Unknown) => return Err(RegistryError::Away(MAY_NOT_WRITE)),
                found => found?,
            },
            written => written?,
        };
        Ok(answer.id)
    }

    async fn call<A: DeserializeOwned>(&self, method: Method, path: &[&str], body: Option<String>) -> Result<A, RegistryError> {
        let (status, bytes) = self.send(method, path, body).await?;
        if status.is_success() {
            // What serde says would quote the schema; where it broke is of no use to anybody.
            return serde_json::from_slice(&bytes).map_err(|_| RegistryError::Away("its answer is no JSON of a registry"));
        }
        let code = serde_json::from_slice::<ErrorAnswer>(&bytes).map_or(0, |answer| answer.error_code);
        Err(match status {
            // 40401 subject, 40402 version, 40403 schema. A 404 with another number is a wrong address.
            StatusCode::NOT_FOUND if (40_400..40_500).contains(&code) => RegistryError::Unknown,
            StatusCode::NOT_FOUND => RegistryError::Away("no registry at this address"),
            StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => RegistryError::Refused { status: status.as_u16(), code },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                if self.read_credentials().await.is_err() {
                    tracing::warn!("The registry's credentials file cannot be read.");
                }
                RegistryError::Away(REFUSES_US)
            }
            _ => RegistryError::Away("it reports an error of its own"),
        })
    }

    async fn send(&self, method: Method, path: &[&str], body: Option<String>) -> Result<(StatusCode, Vec<u8>), RegistryError> {
        let mut url = self.url.clone();
        // A segment may hold any character: subjects do.
        url.path_segments_mut().map_err(|()| RegistryError::Away("its address takes no path"))?.pop_if_empty().extend(path);
        let mut request = self.client.request(method, url).header(ACCEPT, "application/vnd.schemaregistry.v1+json, application/json");
        if let Some(authorization) = self.authorization.read().unwrap_or_else(PoisonError::into_inner).clone() {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/vnd.schemaregistry.v1+json").body(body);
        }
        let mut response = request.send().await.map_err(|error| RegistryError::Away(if error.is_timeout() { "timeout" } else { "no connection" }))?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|_| RegistryError::Away("its answer broke off"))? {
            if bytes.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(RegistryError::Unreadable);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok((response.status(), bytes))
    }
}

#[cfg(test)]
mod tests;
