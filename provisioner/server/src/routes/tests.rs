//! Every call over the router itself, as an operator's client makes it.

use axum::body::Body;
use http_body_util::BodyExt;
use mezame_model::{Feed, GuestEvent, report::GuestEventKind};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::{control::SealingKeys, environment::fixed::FixedEnvironment, feed::InProcessFeed};

mod described;
mod disk;
mod documents;
mod images;
mod password_resets;
mod remote_access;
mod stream;
mod volume_keys;
mod volumes;

/// A control plane without listeners.
struct Plane {
    control: Arc<Control>,
    router: Router,
    ending: watch::Sender<bool>,
}

/// An answer read to its end.
struct Answer {
    status: u16,
    headers: hyper::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn problem(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        problem
    }
}

impl Plane {
    async fn start() -> Self {
        let environment: Arc<FixedEnvironment> = Arc::new(FixedEnvironment::new());
        let keys = SealingKeys::in_memory(&*environment).unwrap();
        let store = crate::testing::store(&*environment).await;
        let control =
            Control::open(store, environment, keys, "local-1", "mezame.internal").await.unwrap();
        let (ending, end) = watch::channel(false);
        let router = router(Arc::clone(&control), None, None, None, 8 << 20, end);
        Self { control, router, ending }
    }

    /// A control plane with the project `p`, the network `lan`, the port `web-0` and the instance
    /// `web`.
    async fn seeded() -> Self {
        let plane = Self::start().await;
        plane.apply(seed()).await;
        plane
    }

    async fn apply(&self, documents: Value) -> Value {
        let answer = self.post("/v1/apply", json!({ "documents": documents })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        self.call_as(Some(Role::Write), method, path, headers, body).await
    }

    async fn call_as(
        &self,
        role: Option<Role>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let response = self.respond(role, method, path, headers, body.into()).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    async fn respond(
        &self,
        role: Option<Role>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body).unwrap();
        if let Some(role) = role {
            request.extensions_mut().insert(Caller { name: "test".into(), role });
        }
        let service = hyper_util::service::TowerToHyperService::new(self.router.clone());
        hyper::service::Service::call(&service, request).await.unwrap()
    }

    async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], Body::empty()).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, &[], body.to_string()).await
    }

    async fn put(&self, path: &str, headers: &[(&str, &str)], body: Value) -> Answer {
        self.call("PUT", path, headers, body.to_string()).await
    }

    async fn generation(&self) -> u64 {
        self.get("/v1/version").await.json()["generation"].as_u64().unwrap()
    }

    /// What the seeded guest did.
    async fn deliver(&self, key: u128, at_ms: u64, kind: GuestEventKind) {
        let event = {
            let state = self.control.state();
            let snapshot = state.snapshot();
            let instance = snapshot.instances[0].id.clone();
            let port = snapshot.instances[0].ports[0].clone();
            GuestEvent { port, instance, at_ms, key, kind }
        };
        InProcessFeed::new(Arc::clone(&self.control)).deliver(event).await.unwrap();
    }
}

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ4yJHhSYAb3RwEwsbxA2zMlrMMhn31iSlbiEvYr1LvR a@b";

fn hash() -> String {
    format!("$6$saltsalt${}", "h".repeat(86))
}

fn seed() -> Value {
    json!([
        { "kind": "Project", "name": "p", "description": "the first" },
        { "kind": "Network", "project": "p", "name": "lan", "vni": 1000,
          "subnets": [{ "cidr": "192.168.0.0/24", "gateway": "192.168.0.1" }],
          "dns": ["192.168.0.1"], "domain": "p.example" },
        { "kind": "Port", "project": "p", "name": "web-0", "network": "lan",
          "addresses": ["192.168.0.10"], "allowed": ["192.168.0.100/32"] },
        { "kind": "Instance", "project": "p", "name": "web", "ports": ["web-0"],
          "ssh_keys": [KEY], "tags": { "role": "web" }, "tokens": "required", "hop_limit": 2,
          "users": [
              { "name": "admin", "ssh_keys": [KEY], "password": { "hash": hash() }, "sudo": true },
              { "name": "other", "ssh_keys": [KEY], "password": { "generate": true },
                "shell": "/bin/sh", "groups": ["adm"] },
          ],
          "user_data": "#!/bin/sh\necho secret-script\n", "vendor_data_base64": "c2VjcmV0Cg==",
          "secrets": { "db": "secret-db", "api": "secret-api" } },
    ])
}
