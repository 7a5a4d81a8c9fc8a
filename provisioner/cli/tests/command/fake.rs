//! A control plane of a few lines: the operator API over a unix socket and TLS, in memory.
//!
//! It answers as the API's table says and remembers what it was asked, so that a test sees what
//! the command sent. What it refuses, a test tells it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    thread::JoinHandle,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path as Segments, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{any, get, post, put},
};
use mezame_model::{
    Generation,
    api::{Device, Event, Fault, Kind, List, Problem, Resource, StoredPassword, StoredReport},
};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{broadcast, oneshot},
};

mod applying;
mod tls;

/// What the server knows.
#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) generation: u64,
    /// By kind, project (empty for a project) and name.
    pub(crate) resources: BTreeMap<(Kind, String, String), Resource>,
    pub(crate) reports: Vec<StoredReport>,
    pub(crate) passwords: Vec<StoredPassword>,
    /// What the next apply or replacement is refused with.
    pub(crate) refuse: Option<Problem>,
    /// `METHOD path [header=value]` of each request.
    pub(crate) asked: Vec<String>,
    /// The last body that was applied or put.
    pub(crate) body: Value,
    /// The token that TLS callers need.
    pub(crate) token: Option<String>,
    /// Events that a new stream begins with, if it asks for what came before them.
    pub(crate) history: Vec<Event>,
}

#[derive(Clone)]
struct Shared {
    contents: Arc<Mutex<Contents>>,
    /// A line for every stream; none ends them all.
    events: broadcast::Sender<Option<Event>>,
}

/// A running server. Ends when it is dropped.
pub(crate) struct Fake {
    shared: Shared,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) tls: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shared = Shared {
            contents: Arc::new(Mutex::new(Contents::default())),
            events: broadcast::channel(64).0,
        };
        let (end, ended) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let (socket, state) = (folder.path().join("api.sock"), shared.clone());
        let ca_file = folder.path().join("ca.pem");
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let unix = UnixListener::bind(socket).unwrap();
                let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = tcp.local_addr().unwrap();
                let tls = tls::Listener::new(tcp, &ca_file);
                tell.send(address).unwrap();
                let open = router(state.clone());
                let closed = router(state.clone()).layer(from_fn_with_state(state, check_token));
                tokio::select! {
                    end = axum::serve(unix, open) => end.unwrap(),
                    end = axum::serve(tls, closed) => end.unwrap(),
                    _ = ended => {}
                }
            });
        });
        let tls = told.recv().unwrap();
        Self { shared, folder, tls, end: Some(end), thread: Some(thread) }
    }

    pub(crate) fn contents(&self) -> MutexGuard<'_, Contents> {
        self.shared.contents.lock().unwrap()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("api.sock")
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Puts a resource in place.
    pub(crate) fn put(&self, kind: Kind, spec: Value, status: Value) {
        let mut contents = self.contents();
        contents.generation += 1;
        let revision = Generation(contents.generation);
        let key = key_of(kind, &spec);
        contents.resources.insert(key, Resource { kind, spec, status, revision });
    }

    /// Sends an event to all streams, once there is one.
    pub(crate) fn happen(&self, event: Event) {
        self.await_stream();
        self.contents().generation = event.generation.0;
        self.shared.events.send(Some(event)).unwrap();
    }

    /// Ends all streams, once there is one.
    pub(crate) fn cut_streams(&self) {
        self.await_stream();
        self.shared.events.send(None).unwrap();
    }

    fn await_stream(&self) {
        while self.shared.events.receiver_count() == 0 {
            std::thread::yield_now();
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn key_of(kind: Kind, spec: &Value) -> (Kind, String, String) {
    let text = |field: &str| spec[field].as_str().unwrap_or_default().to_owned();
    (kind, if kind == Kind::Project { String::new() } else { text("project") }, text("name"))
}

fn router(state: Shared) -> Router {
    Router::new()
        .route("/v1/projects", get(list_projects))
        .route("/v1/projects/{project}", any(project))
        .route("/v1/projects/{project}/{kind}", get(list))
        .route("/v1/projects/{project}/{kind}/{name}", any(one))
        .route("/v1/projects/{project}/ports/{name}/device", put(attach).delete(detach))
        .route("/v1/projects/{project}/instances/{name}/reports", get(reports))
        .route("/v1/projects/{project}/instances/{name}/passwords", get(passwords))
        .route("/v1/apply", post(applying::apply))
        .route("/v1/events", get(events))
        .route("/v1/keys/{key}/rotate", post(|| async { StatusCode::NO_CONTENT }))
        .route("/v1/identity-certificate", get(|| async { "-----BEGIN CERTIFICATE-----\n" }))
        .route("/v1/version", get(|| async { Json(json!({ "version": "9.9.9" })) }))
        .layer(from_fn_with_state(state.clone(), remember))
        .with_state(state)
}

async fn remember(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let mut line = format!("{} {}", request.method(), request.uri());
    if let Some(value) = request.headers().get(header::IF_MATCH) {
        line += &format!(" if-match={}", value.to_str().unwrap());
    }
    shared.contents.lock().unwrap().asked.push(line);
    next.run(request).await
}

async fn check_token(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let wanted = shared.contents.lock().unwrap().token.clone();
    let given = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    if wanted.is_some_and(|token| given != Some(&format!("Bearer {token}"))) {
        return problem(401, "unauthorized", "no valid token");
    }
    next.run(request).await
}

fn problem(status: u16, kind: &str, title: &str) -> Response {
    refusal(Problem {
        kind: kind.into(),
        title: title.into(),
        status,
        detail: String::new(),
        faults: Vec::new(),
    })
}

fn refusal(problem: Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap();
    (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(problem)).into_response()
}

fn kind_of(plural: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.plural() == plural)
}

async fn list_projects(State(shared): State<Shared>) -> Json<List> {
    listed(&shared, Kind::Project, "")
}

async fn list(
    State(shared): State<Shared>,
    Segments((project, kind)): Segments<(String, String)>,
) -> Response {
    let known = shared.contents.lock().unwrap().resources.contains_key(&(
        Kind::Project,
        String::new(),
        project.clone(),
    ));
    match kind_of(&kind) {
        Some(kind) if known => listed(&shared, kind, &project).into_response(),
        _ => problem(404, "not-found", "there is no such project"),
    }
}

fn listed(shared: &Shared, kind: Kind, project: &str) -> Json<List> {
    let contents = shared.contents.lock().unwrap();
    let items = contents
        .resources
        .iter()
        .filter(|((k, p, _), _)| *k == kind && p == project)
        .map(|(_, resource)| resource.clone())
        .collect();
    Json(List { items, generation: Generation(contents.generation) })
}

async fn project(
    state: State<Shared>,
    Segments(name): Segments<String>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    answer(&state, (Kind::Project, String::new(), name), &headers, request).await
}

async fn one(
    state: State<Shared>,
    Segments((project, kind, name)): Segments<(String, String, String)>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    answer(&state, (kind_of(&kind).unwrap(), project, name), &headers, request).await
}

async fn answer(
    shared: &Shared,
    key: (Kind, String, String),
    headers: &HeaderMap,
    request: Request,
) -> Response {
    let method = request.method().clone();
    let body = axum::body::to_bytes(request.into_body(), 1 << 24).await.unwrap();
    let mut contents = shared.contents.lock().unwrap();
    if method != "GET"
        && let Some(refused) = contents.refuse.take()
    {
        return refusal(refused);
    }
    let Some(resource) = contents.resources.get(&key).cloned() else {
        return problem(404, "not-found", "there is no such resource");
    };
    let etag = format!("\"{}\"", resource.revision);
    let wanted = headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok());
    if method != "GET" && wanted != Some("*") && wanted != Some(&etag) {
        return problem(412, "precondition", "the resource is at another revision");
    }
    match method.as_str() {
        "GET" => ([(header::ETAG, etag)], Json(resource)).into_response(),
        "DELETE" => {
            contents.resources.remove(&key);
            StatusCode::NO_CONTENT.into_response()
        }
        _ => {
            contents.generation += 1;
            let revision = Generation(contents.generation);
            let spec: Value = serde_json::from_slice(&body).unwrap();
            contents.body = spec.clone();
            let resource = Resource { spec, revision, ..resource };
            contents.resources.insert(key, resource.clone());
            Json(resource).into_response()
        }
    }
}

async fn attach(
    State(shared): State<Shared>,
    Segments((project, name)): Segments<(String, String)>,
    Json(device): Json<Device>,
) -> Response {
    set_device(&shared, project, name, device.device)
}

async fn detach(
    State(shared): State<Shared>,
    Segments((project, name)): Segments<(String, String)>,
) -> Response {
    set_device(&shared, project, name, "tap0".into())
}

fn set_device(shared: &Shared, project: String, name: String, device: String) -> Response {
    let mut contents = shared.contents.lock().unwrap();
    match contents.resources.get_mut(&(Kind::Port, project, name)) {
        Some(resource) => {
            resource.spec["device"] = device.into();
            Json(resource.clone()).into_response()
        }
        None => problem(404, "not-found", "there is no such resource"),
    }
}

async fn reports(State(shared): State<Shared>) -> Json<Vec<StoredReport>> {
    Json(shared.contents.lock().unwrap().reports.clone())
}

async fn passwords(State(shared): State<Shared>) -> Json<Vec<StoredPassword>> {
    Json(shared.contents.lock().unwrap().passwords.clone())
}

async fn events(
    State(shared): State<Shared>,
    Query(query): Query<BTreeMap<String, u64>>,
) -> Response {
    let receiver = shared.events.subscribe();
    let after = query.get("after").copied();
    let history: Vec<Event> = {
        let contents = shared.contents.lock().unwrap();
        let missed = |event: &&Event| after.is_some_and(|after| event.generation.0 > after);
        contents.history.iter().filter(missed).cloned().collect()
    };
    let begin = futures_util::stream::iter(history.into_iter().map(line));
    let rest = futures_util::stream::unfold(receiver, |mut receiver| async move {
        match receiver.recv().await {
            Ok(Some(event)) => Some((line(event), receiver)),
            Ok(None) | Err(_) => None,
        }
    });
    Body::from_stream(futures_util::StreamExt::chain(begin, rest)).into_response()
}

fn line(event: Event) -> Result<Bytes, std::convert::Infallible> {
    Ok((serde_json::to_string(&event).unwrap() + "\n").into())
}

/// A fault of a document.
pub(crate) fn fault(document: usize, path: &str, message: &str, mend: &str) -> Fault {
    Fault { document, path: path.into(), message: message.into(), mend: mend.into() }
}

/// A refusal for faults.
pub(crate) fn faulty(faults: Vec<Fault>) -> Problem {
    Problem {
        kind: "faults".into(),
        title: "the documents have faults".into(),
        status: 422,
        detail: String::new(),
        faults,
    }
}
