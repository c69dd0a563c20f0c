//! One call over HTTP, and the one question that matters about it: could a byte of it have gone out?
//!
//! Easily got wrong: "the request failed" says nothing. The body is therefore handed out only when the connection asks for it, and at that instant the time is
//! looked at once more; a body that nobody asked for was proven not sent, whatever the error. Only HTTP/1.1 asks when it is about to write.

use super::settings::{Auth, MinTls, Provider};
use crate::channel::Request;
use crate::crash_point::crash_point;
use crate::privacy::Secret;
use anyhow::Context;
use base64::Engine as _;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{self, Poll};
use std::time::Duration;
use zeroize::Zeroizing;

/// So long a connection waits for another call. A provider that closes it at the very instant of the next call makes that *unknown*, so we are to be first: load
/// balancers close after 60 s and more. A guess, since neither Meta nor Twilio says.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// What came of one call.
pub enum Posted {
    /// The provider answered. The body is empty where it was cut off or could not be read: then only the status counts.
    Answered {
        /// HTTP status.
        status: u16,
        /// At most `answer_bytes_max` bytes.
        body: Zeroizing<Vec<u8>>,
        /// From the header `Retry-After`, in whole seconds.
        retry_after: Option<Duration>,
    },
    /// No byte of the body left: refused connection, TLS failure, no such host, or a time-out before that.
    NotSent,
    /// `not_after` had come when the connection asked for the body.
    TooLate,
    /// It may have gone out.
    Lost,
}

/// The way to one provider.
#[derive(Debug)]
pub struct Post {
    client: reqwest::Client,
    base_url: String,
    authorization: HeaderValue,
    answer_bytes_max: usize,
}

impl Post {
    /// TLS 1.3 by default, no redirects, no proxy. Errors: a token with characters that no header may carry.
    pub fn new(provider: &Provider, call_timeout: Duration, answer_bytes_max: usize) -> anyhow::Result<Self> {
        let min_tls = match provider.min_tls {
            MinTls::V1_3 => reqwest::tls::Version::TLS_1_3,
            MinTls::V1_2 => reqwest::tls::Version::TLS_1_2,
        };
        let client = reqwest::Client::builder()
            .tls_version_min(min_tls)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .retry(reqwest::retry::never())
            .timeout(call_timeout)
            .connect_timeout(call_timeout / 2)
            .user_agent(concat!("recado/", env!("CARGO_PKG_VERSION")))
            // The last look at `not_after` must be the last. Over HTTP/1.1 hyper asks for the body and writes it to the socket in one step. Over HTTP/2 it asks first, puts
            // the body by, and waits until the provider's flow control lets it leave: seconds later, if many calls share the connection.
            .http1_only()
            .pool_idle_timeout(IDLE_MAX)
            .build()
            .context("building the HTTP client")?;
        Ok(Self { client, base_url: provider.base_url.clone(), authorization: authorization(&provider.auth)?, answer_bytes_max })
    }

    /// Makes one call. `may_leave` is asked when the connection is ready for the body, at most once.
    pub async fn send(&self, request: Request, may_leave: impl Fn() -> bool + Send + Sync + 'static) -> Posted {
        let fate = Arc::new(Fate::default());
        let body = request.body;
        #[cfg(feature = "mutants")]
        let body = LetGo { body, fate: fate.clone() };
        let body = reqwest::Body::wrap(Guarded { bytes: Some(Bytes::from_owner(body)), may_leave, fate: fate.clone() });
        let sent = self
            .client
            .post(format!("{}{}", self.base_url, request.path_and_query))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static(request.content_type))
            .body(body)
            .send()
            .await;
        // From here on nobody hands it out: a request may still lie in the connection's queue when its time is over.
        let withdrawn = fate.decide(WITHDRAWN);
        match (sent, fate.get()) {
            (Ok(response), _) => self.answer(response).await,
            (Err(_), _) if withdrawn => Posted::NotSent,
            (Err(_), ASKED_TOO_LATE) => Posted::TooLate,
            (Err(_), _) => Posted::Lost,
        }
    }

    async fn answer(&self, mut response: reqwest::Response) -> Posted {
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|text| text.trim().parse().ok());
        let retry_after = retry_after.map(Duration::from_secs);
        let mut body = Zeroizing::new(Vec::new());
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= self.answer_bytes_max => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Ok(Some(_)) | Err(_) => {
                    body = Zeroizing::new(Vec::new());
                    break;
                }
            }
        }
        Posted::Answered { status, body, retry_after }
    }
}

fn authorization(auth: &Auth) -> anyhow::Result<HeaderValue> {
    let text = Zeroizing::new(match auth {
        Auth::Bearer(token) => format!("Bearer {}", token.expose()),
        Auth::Basic { user, password } => {
            let pair = Secret::new(format!("{user}:{}", password.expose()));
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair.expose()))
        }
    });
    let mut value = HeaderValue::from_str(&text).map_err(|_| anyhow::anyhow!("a provider's token holds characters that no header may carry"))?;
    value.set_sensitive(true);
    Ok(value)
}

const UNASKED: u8 = 0;
const HANDED_OUT: u8 = 1;
const ASKED_TOO_LATE: u8 = 2;
const WITHDRAWN: u8 = 3;

/// What happened to the body.
#[derive(Default)]
struct Fate(AtomicU8);

impl Fate {
    /// Whether nothing was decided before: who asks for the body and who takes it back may come at the same time, on two threads.
    fn decide(&self, word: u8) -> bool {
        self.0.compare_exchange(UNASKED, word, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn get(&self) -> u8 {
        self.0.load(Ordering::Acquire)
    }
}

/// The bytes of a body, for as long as anybody holds them.
#[cfg(feature = "mutants")]
struct LetGo {
    body: Zeroizing<Vec<u8>>,
    fate: Arc<Fate>,
}

#[cfg(feature = "mutants")]
impl AsRef<[u8]> for LetGo {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

#[cfg(feature = "mutants")]
impl Drop for LetGo {
    fn drop(&mut self) {
        // reqwest tells nobody that a request is written. The connection lets the body go when it has: once the socket (under TLS, the session that writes through to
        // it) took the last byte; and too when a connection breaks in between.
        crash_point!("after_post_before_response", if self.fate.get() == HANDED_OUT);
    }
}

/// A body that is handed out in one piece, if at all.
struct Guarded<F> {
    bytes: Option<Bytes>,
    may_leave: F,
    fate: Arc<Fate>,
}

/// `not_after` has come, or the call was given up.
#[derive(Debug, thiserror::Error)]
#[error("too late")]
struct TooLate;

impl<F: Fn() -> bool + Send + Sync + 'static> Body for Guarded<F>
where
    Self: Unpin,
{
    type Data = Bytes;
    type Error = TooLate;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<Option<Result<Frame<Bytes>, TooLate>>> {
        let Some(bytes) = self.bytes.take() else { return Poll::Ready(None) };
        // The connection is made and asks. The head lies beside this body in hyper's buffer, and nothing was written to the socket yet.
        // Before the last look at the time: a process that stands still here, and goes on too late, must not send.
        crash_point!("before_post");
        let leaves = (self.may_leave)();
        let decided = self.fate.decide(if leaves { HANDED_OUT } else { ASKED_TOO_LATE });
        Poll::Ready(Some(if leaves && decided { Ok(Frame::data(bytes)) } else { Err(TooLate) }))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
    }
}

impl<F> Unpin for Guarded<F> {}

#[cfg(test)]
mod tests {
    use super::super::settings::Sender;
    use super::*;
    use crate::channel::sms;
    use crate::channel::twilio::Callbacks;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    fn post(base_url: String) -> Post {
        let callbacks = Callbacks { public_base_url: "https://recado.example".into(), account: "main".into() };
        let sender = Sender::Sms(sms::Sender { account_sid: "AC1".into(), from: sms::From::Number("29001".into()), callbacks });
        let auth = Auth::Basic { user: "AC1".into(), password: Secret::new("token".into()) };
        let provider = Provider { name: "test".into(), base_url, min_tls: MinTls::V1_3, auth, calls_per_second: 0, sender };
        Post::new(&provider, Duration::from_secs(2), 1_000).unwrap()
    }

    fn request() -> Request {
        Request { path_and_query: "/x".into(), content_type: "application/x-www-form-urlencoded", body: Zeroizing::new(b"To=1&Body=hello".to_vec()) }
    }

    /// Sends one request to a server that does `then` with the connection; returns what came of it, and all bytes that the server saw.
    async fn against<F: Future<Output = Vec<u8>> + Send + 'static>(scheme: &str, may_leave: bool, then: fn(TcpStream) -> F) -> (Posted, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let post = post(format!("{scheme}://{}", listener.local_addr().unwrap()));
        let server = tokio::spawn(async move { then(listener.accept().await.unwrap().0).await });
        let posted = post.send(request(), move || may_leave).await;
        drop(post);
        (posted, server.await.unwrap())
    }

    async fn all(mut stream: TcpStream) -> Vec<u8> {
        let mut seen = Vec::new();
        let _ = stream.read_to_end(&mut seen).await;
        seen
    }

    async fn until_body(stream: &mut TcpStream) -> Vec<u8> {
        let mut seen = Vec::new();
        while !seen.ends_with(b"hello") {
            stream.read_buf(&mut seen).await.unwrap();
        }
        seen
    }

    async fn hang_up(mut stream: TcpStream) -> Vec<u8> {
        until_body(&mut stream).await
    }

    async fn redirect(mut stream: TcpStream) -> Vec<u8> {
        let seen = until_body(&mut stream).await;
        stream.write_all(b"HTTP/1.1 307 Moved\r\nLocation: /y\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        seen
    }

    async fn endless(mut stream: TcpStream) -> Vec<u8> {
        let seen = until_body(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 1001\r\n\r\n").await;
        let _ = stream.write_all(&[b'x'; 1_001]).await;
        seen
    }

    /// The first message of TLS, to the names of protocols in it.
    async fn client_hello(mut stream: TcpStream) -> Vec<u8> {
        let mut seen = Vec::new();
        while !has(&seen, b"\x08http/1.1") && stream.read_buf(&mut seen).await.is_ok_and(|read| read > 0) {}
        seen
    }

    fn has(bytes: &[u8], part: &[u8]) -> bool {
        bytes.windows(part.len()).any(|window| window == part)
    }

    async fn garbage(mut stream: TcpStream) -> Vec<u8> {
        let _ = stream.write_all(b"this is no TLS at all, whatever you say").await;
        all(stream).await
    }

    #[tokio::test]
    async fn when_the_time_is_over_at_the_socket_no_byte_of_the_message_leaves() {
        let (posted, seen) = against("http", false, all).await;
        assert!(matches!(posted, Posted::TooLate));
        assert!(!has(&seen, b"hello"), "{}", String::from_utf8_lossy(&seen));
    }

    /// HTTP/2 asks for a body before the provider's flow control lets it leave, so the look at the time would not be the last.
    #[tokio::test]
    async fn no_provider_is_offered_http_2() {
        let (posted, seen) = against("https", true, client_hello).await;
        assert!(matches!(posted, Posted::NotSent));
        assert!(has(&seen, b"\x00\x10\x00\x0b\x00\x09\x08http/1.1"), "the extension ALPN with more, or less, than HTTP/1.1: {seen:?}");
    }

    #[tokio::test]
    async fn a_body_that_was_handed_out_is_lost_and_one_that_was_not_is_not_sent() {
        assert!(matches!(against("http", true, hang_up).await.0, Posted::Lost));
        assert!(matches!(against("https", true, garbage).await.0, Posted::NotSent));
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(matches!(post(format!("http://{nobody}")).send(request(), || true).await, Posted::NotSent));
    }

    #[test]
    fn of_a_call_that_was_given_up_no_byte_leaves_later_and_one_that_left_is_not_taken_back() {
        let fate = Arc::new(Fate::default());
        let ask = || {
            let mut body = Guarded { bytes: Some(Bytes::from_static(b"hello")), may_leave: || true, fate: fate.clone() };
            Pin::new(&mut body).poll_frame(&mut task::Context::from_waker(task::Waker::noop()))
        };
        assert!(fate.decide(WITHDRAWN));
        assert!(matches!(ask(), Poll::Ready(Some(Err(TooLate)))));
        fate.0.store(UNASKED, Ordering::Release);
        assert!(matches!(ask(), Poll::Ready(Some(Ok(_)))));
        assert!(!fate.decide(WITHDRAWN));
    }

    /// A child process that is armed makes the call; the provider, here, sees of it what the points' sentences say.
    #[cfg(feature = "mutants")]
    #[tokio::test]
    async fn a_kill_before_the_post_leaves_no_byte_and_one_after_it_a_whole_request() {
        const PROVIDER: &str = "POST_TEST_PROVIDER";
        if let Some(address) = std::env::var_os(PROVIDER) {
            crate::crash_point::arm().unwrap();
            post(format!("http://{}", address.display())).send(request(), || true).await;
            unreachable!("the process is dead by now");
        }
        let mut seen = Vec::new();
        for point in ["before_post", "after_post_before_response"] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let test = "a_kill_before_the_post_leaves_no_byte_and_one_after_it_a_whole_request";
            let mut command = crate::crash_point::child(module_path!(), test, point, "1");
            let mut child = command.env(PROVIDER, listener.local_addr().unwrap().to_string()).stdout(std::process::Stdio::null()).spawn().unwrap();
            // To the end: a killed process has closed its socket.
            seen.push(String::from_utf8(all(listener.accept().await.unwrap().0).await).unwrap());
            let ended = child.wait().unwrap();
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(libc::SIGKILL), "{point}: {ended:?}");
        }
        assert_eq!(seen[0], "");
        assert!(seen[1].starts_with("POST /x HTTP/1.1\r\n") && seen[1].ends_with("\r\n\r\nTo=1&Body=hello"), "{}", seen[1]);
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_too_long_an_answer_is_read_no_further() {
        let (posted, seen) = against("http", true, redirect).await;
        let Posted::Answered { status: 307, retry_after: Some(retry_after), .. } = posted else { panic!("a redirect is not followed") };
        assert_eq!(retry_after, Duration::from_secs(7));
        let seen = String::from_utf8(seen).unwrap().to_lowercase();
        assert!(seen.contains("content-length: 15\r\n") && seen.contains("authorization: basic qumxonrva2vu\r\n"), "{seen}");
        let (posted, _) = against("http", true, endless).await;
        assert!(matches!(posted, Posted::Answered { status: 201, body, .. } if body.is_empty()));
    }
}
