//! `/mezame/v1/freeze`: the order to freeze or to thaw that stands for a guest, and the agent's answer.
//!
//! ```text
//! GET  /mezame/v1/freeze?watch=ETAG&timeout=S   {"order": null | {"id", "wanted"}}
//! POST /mezame/v1/freeze                        {"id", "done"}
//! ```
//! A session token is needed whatever the instance's policy, so that nothing that is only lured into
//! a request answers for the agent. Who gives orders, and whether an answer is of the one that
//! stands, is the shell's affair: here is the form alone.

use bytes::Bytes;
use mezame_model::{
    Dialect,
    freeze::{self, Standing},
};

use super::{inbox, watch::watch};
use crate::{
    etag,
    policy::{Denial, Permit},
    render,
    request::{Method, Request},
    respond::Answer,
    response::{JSON, Status},
    tree::{Body, Scope},
    view,
};

/// Whether the path is this one.
pub(super) fn is_asked(request: &Request<'_>) -> bool {
    request.segments().eq(["mezame", "v1", "freeze"]) && !request.path().ends_with('/')
}

/// Answers a permitted request.
pub(super) fn answer(
    permit: Permit,
    request: &Request<'_>,
    body: &[u8],
    scope: &Scope<'_>,
) -> Answer {
    if !matches!(request.method(), Method::Get | Method::Post) {
        let detail = "this path answers GET, POST";
        let mut reply = render::error(Status::MethodNotAllowed, "method-not-allowed", detail);
        reply.allow = Some("GET, POST");
        return Answer::Reply(reply);
    }
    if permit.token_ttl().is_none() {
        return Answer::Reply(Denial::TokenMissing.response(Some(Dialect::Mezame)));
    }
    if request.method() == Method::Post {
        take(request, body)
    } else {
        read(permit, request, scope)
    }
}

fn read(permit: Permit, request: &Request<'_>, scope: &Scope<'_>) -> Answer {
    let order = scope.context.order;
    // Plain values.
    let json = serde_json::to_vec(&Standing { order }).unwrap_or_default();
    let tag = etag::of(&json);
    if let Some(answer) = watch(request, scope, || tag) {
        return answer;
    }
    let body = Body { content_type: JSON, bytes: Bytes::from(json), etag: Some(tag), audit: None };
    let mut reply = view::reply(permit, scope, body);
    reply.last_modified = None;
    reply.no_store = true;
    reply.order = order.map(|order| order.id);
    Answer::Reply(reply)
}

fn take(request: &Request<'_>, body: &[u8]) -> Answer {
    match inbox::parse(request, body, freeze::Answer::LENGTH_MAX) {
        Ok(answer) => Answer::Obeyed(Box::new(answer)),
        Err(rejection) => Answer::Reply(rejection.response()),
    }
}

#[cfg(test)]
mod tests {
    use mezame_model::freeze::{Order, OrderId, Wanted};

    use super::*;
    use crate::fixture::World;

    const PATH: &str = "/mezame/v1/freeze";
    const TOKEN: &str = "X-aws-ec2-metadata-token";

    fn world(order: Option<Order>) -> (World, mezame_model::Guest, String) {
        let world = World { order, ..World::new() };
        let guest = world.web_in(Dialect::Mezame);
        let token = world.token(&guest, 60);
        (world, guest, token)
    }

    #[test]
    fn an_order_is_told_at_once_and_its_absence_is_waited_on() {
        let (world, guest, token) = world(None);
        let none = world.ask(&guest, "GET", PATH, &[(TOKEN, &token)]);
        assert_eq!((none.status, &none.body[..]), (Status::Ok, &br#"{"order":null}"#[..]));
        assert_eq!(none.order, None);
        let watch = format!("{PATH}?watch={:016x}&timeout=9", none.etag.unwrap());
        let waits = world.answer(&guest, "GET", &watch, &[(TOKEN, &token)], b"");
        assert!(matches!(waits, Answer::Watch { timeout_s: 9, .. }), "{waits:?}");
        let order = Order { id: OrderId(7), wanted: Wanted::Freeze { bound_ms: 1000 } };
        let world = World { order: Some(order), ..world };
        let told = world.ask(&guest, "GET", &watch, &[(TOKEN, &token)]);
        assert_eq!((told.status, told.order, told.no_store), (Status::Ok, Some(order.id), true));
        let standing: Standing = serde_json::from_slice(&told.body).unwrap();
        assert_eq!(standing.order, Some(order));
    }

    #[test]
    fn an_answer_is_handed_on_and_anything_else_is_refused() {
        let (world, guest, token) = world(None);
        let post =
            |body: &str| world.answer(&guest, "POST", PATH, &[(TOKEN, &token)], body.as_bytes());
        let id = OrderId(7);
        let thawed = format!(r#"{{"id":"{id}","done":{{"thawed":{{"was_frozen":true}}}}}}"#);
        let Answer::Obeyed(answer) = post(&thawed) else { panic!() };
        assert_eq!(answer.id, id);
        for body in ["", "{}", r#"{"id":"7","done":{"thawed":{"was_frozen":true}}}"#] {
            let Answer::Reply(reply) = post(body) else { panic!("{body}") };
            assert_eq!(reply.status, Status::BadRequest, "{body}");
        }
        let long =
            format!(r#"{{"id":"{id}","done":{{"failed":{{"reason":"{}"}}}}}}"#, "x".repeat(20_000));
        let Answer::Reply(reply) = post(&long) else { panic!() };
        assert_eq!(reply.status, Status::ContentTooLarge);
    }

    #[test]
    fn without_a_token_nothing_is_told_or_taken() {
        let (world, guest, _) = world(None);
        for method in ["GET", "POST"] {
            assert_eq!(world.ask(&guest, method, PATH, &[]).status, Status::Unauthorized);
        }
        let (world, guest, token) = self::world(None);
        let reply = world.ask(&guest, "DELETE", PATH, &[(TOKEN, &token)]);
        assert_eq!((reply.status, reply.allow), (Status::MethodNotAllowed, Some("GET, POST")));
    }
}
