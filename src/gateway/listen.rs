//! Accepts connections and serves HTTP/1 and HTTP/2 on them: enters a socket, leaves requests on the routes. Deadlines and limits of connections are here.
//!
//! What is easily got wrong: hyper's header timeout is silently off without a timer, does not know a connection that never says what it speaks, and counts
//! idle time as header time. So a watch of our own stands over each connection, and hyper's timeout is only the second net.

use super::Limits;
use crate::clock;
use crate::observe::gateway as metrics;
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// Whose request it is; an extension of each request.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// Serves until `shutdown`, then lets the requests under way end, for at most [`DRAIN`].
pub(super) async fn accept(listener: TcpListener, routes: Router, limits: &Limits, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let addresses = Arc::new(Addresses::default());
    let connections = TaskTracker::new();
    let accepting = async {
        loop {
            let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(_) => {
                    // Out of descriptors, or the peer went away: accept would fail at once again.
                    metrics::connection_refused("accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(seat) = Addresses::enter(&addresses, peer.ip(), limits.connections_per_address_max) else {
                metrics::connection_refused("address");
                continue;
            };
            let (routes, limits, shutdown) = (routes.clone(), limits.clone(), shutdown.clone());
            connections.spawn(async move {
                serve(stream, Peer(peer.ip()), routes, &limits, shutdown).await;
                drop((seat, place));
            });
        }
    };
    shutdown.run_until_cancelled(accepting).await;
    drop(listener);
    connections.close();
    // Past this the sockets are closed under the requests, which the providers repeat.
    let _ = tokio::time::timeout(DRAIN, connections.wait()).await;
}

async fn serve(stream: TcpStream, peer: Peer, routes: Router, limits: &Limits, shutdown: CancellationToken) {
    let _open = metrics::connection();
    // A receipt's answer is one small packet; a failure costs 40 ms and nothing else.
    let _ = stream.set_nodelay(true);
    let watch = Arc::new(Watch::new(clock::monotonic()));
    let io = TokioIo::new(Watched { stream, watch: Arc::clone(&watch) });
    let requests = service_fn(|request: hyper::Request<Incoming>| {
        let under_way = UnderWay::begin(Arc::clone(&watch));
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        let answer = routes.clone().oneshot(request);
        async move {
            let answer: Result<_, Infallible> = answer.await;
            drop(under_way);
            answer
        }
    });
    let http = http(limits);
    let mut connection = pin!(http.serve_connection(io, requests));
    let patience = tokio::select! {
        ended = connection.as_mut() => {
            // By hyper's own deadlines, the second net.
            if ended.is_err_and(|error| error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_timeout)) {
                metrics::connection_cut(watch.cause());
            }
            return;
        }
        cause = watch.overdue(limits) => {
            metrics::connection_cut(cause);
            LAST_WORD
        }
        () = shutdown.cancelled() => DRAIN,
    };
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(patience, connection).await;
}

fn http(limits: &Limits) -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(limits.idle_deadline).max_buf_size(HEADER_BYTES_MAX);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(limits.idle_deadline / 3)
        .keep_alive_timeout(limits.body_deadline);
    http
}

/// Limits of one HTTP/2 connection (`privacy.md` §6); 20 resets is hyper's own default since the rapid-reset attacks.
const STREAMS_MAX: u32 = 100;
const RESETS_MAX: usize = 20;
const HEADER_LIST_BYTES_MAX: u32 = 16 << 10;
/// The same for HTTP/1, whose buffer also carries the body's pieces; hyper asks for 8 KiB at least.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// What a peer may send before we read it: guesses, small beside the memory that bodies have together.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// After an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// For a connection that is closed for its silence.
const LAST_WORD: Duration = Duration::from_secs(1);
/// A request under way ends in it: the body's deadline and Kafka's, and some more.
const DRAIN: Duration = Duration::from_secs(16);

/// Open connections by address.
#[derive(Default)]
struct Addresses(Mutex<HashMap<IpAddr, usize>>);

/// One open connection of an address, given back on drop.
struct Seat {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    fn enter(addresses: &Arc<Self>, address: IpAddr, connections_max: usize) -> Option<Seat> {
        let mut open = addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_insert(0);
        // An entry with a connection in it is never full at zero, so a refusal leaves no empty one behind.
        if *count >= connections_max.max(1) {
            return None;
        }
        *count += 1;
        Some(Seat { addresses: Arc::clone(addresses), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// What a connection is doing, for its deadlines.
struct Watch(Mutex<Doing>);

struct Doing {
    requests: usize,
    /// When it last began to do what it does, in monotonic time.
    since: Duration,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Accepted; no byte has come.
    New,
    /// HTTP/1: bytes of a request have come, its headers are not complete.
    Headers,
    /// Between two requests.
    Idle,
    /// HTTP/2 before its first request.
    Preface,
    /// HTTP/2 between requests: its pings are no requests.
    Multiplexed,
}

impl Watch {
    fn new(now: Duration) -> Self {
        Self(Mutex::new(Doing { requests: 0, since: now, phase: Phase::New }))
    }

    fn doing(&self) -> std::sync::MutexGuard<'_, Doing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes have come.
    fn heard(&self, bytes: &[u8], now: Duration) {
        let mut doing = self.doing();
        match doing.phase {
            // `PRI * HTTP/2.0`; no method of ours begins so.
            Phase::New if bytes.starts_with(b"PR") => doing.phase = Phase::Preface,
            // The deadline of a new connection runs from the accept on.
            Phase::New => doing.phase = Phase::Headers,
            Phase::Idle if doing.requests == 0 => {
                doing.phase = Phase::Headers;
                doing.since = now;
            }
            Phase::Idle | Phase::Headers | Phase::Preface | Phase::Multiplexed => {}
        }
    }

    /// Ends when a deadline has passed, and says which. It looks once a second at most: a deadline may come nearer while it sleeps.
    async fn overdue(&self, limits: &Limits) -> &'static str {
        loop {
            let left = self.left(limits, clock::monotonic());
            if left.is_zero() {
                return self.cause();
            }
            tokio::time::sleep(left.min(Duration::from_secs(1))).await;
        }
    }

    fn left(&self, limits: &Limits, now: Duration) -> Duration {
        let doing = self.doing();
        if doing.requests > 0 {
            // A request has deadlines of its own.
            return limits.idle_deadline;
        }
        let deadline = match doing.phase {
            Phase::New | Phase::Headers | Phase::Preface => limits.header_deadline,
            Phase::Idle | Phase::Multiplexed => limits.idle_deadline,
        };
        (doing.since + deadline).saturating_sub(now)
    }

    /// What a connection that is closed now was too slow with: the metric's word.
    fn cause(&self) -> &'static str {
        match self.doing().phase {
            Phase::New => "silent",
            Phase::Headers => "headers",
            Phase::Preface => "preface",
            Phase::Idle | Phase::Multiplexed => "idle",
        }
    }
}

/// A request under way; its end begins the idle time.
struct UnderWay(Arc<Watch>);

impl UnderWay {
    fn begin(watch: Arc<Watch>) -> Self {
        let mut doing = watch.doing();
        doing.requests += 1;
        doing.phase = match doing.phase {
            Phase::Preface | Phase::Multiplexed => Phase::Multiplexed,
            Phase::New | Phase::Headers | Phase::Idle => Phase::Idle,
        };
        drop(doing);
        Self(watch)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut doing = self.0.doing();
        doing.requests -= 1;
        doing.since = clock::monotonic();
    }
}

/// A socket whose incoming bytes the watch hears of.
struct Watched {
    stream: TcpStream,
    watch: Arc<Watch>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let came = &buffer.filled()[before..];
        if !came.is_empty() {
            self.watch.heard(came, clock::monotonic());
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
