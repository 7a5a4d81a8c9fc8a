//! Remote Desktop and WinRM of an instance: kept as they were written, and all that is wrong with them
//! is said at once.

use super::*;

const WEB: &str = "/v1/projects/p/instances/web";

fn with(desktop: Value, winrm: Value) -> Value {
    let mut document = seed()[3].clone();
    document["remote_desktop"] = desktop;
    document["winrm"] = winrm;
    document
}

#[tokio::test]
async fn ways_into_a_windows_are_kept_with_what_was_left_out_and_can_be_left_out_again() {
    let plane = Plane::seeded().await;
    let document = with(json!({ "enabled": true }), json!({ "https": true, "port": 443 }));
    let written = plane.put(WEB, &[], document).await;
    assert_eq!(written.status, 200, "{}", written.text);
    let spec = &written.json()["spec"];
    assert_eq!(spec["remote_desktop"], json!({ "enabled": true, "port": 3389, "nla": true }));
    assert_eq!(spec["winrm"], json!({ "https": true, "port": 443, "basic": false }));
    let generation = plane.generation().await;
    assert_eq!(plane.put(WEB, &[], spec.clone()).await.status, 200);
    assert_eq!(plane.generation().await, generation, "what is shown changes nothing");
    let written = plane.put(WEB, &[], with(Value::Null, Value::Null)).await.json();
    assert_eq!(
        (&written["spec"]["remote_desktop"], &written["spec"]["winrm"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn each_fault_of_them_has_its_place_and_one_port_is_not_for_both() {
    let plane = Plane::seeded().await;
    let desktop = json!({ "enabled": "on", "port": 0, "nla": 1, "rules": [] });
    let winrm = json!({ "port": 65536, "basic": "yes" });
    let refused = plane.put(WEB, &[], with(desktop, winrm)).await;
    assert_eq!(refused.status, 422, "{}", refused.text);
    let faults = refused.problem()["faults"].clone();
    let mut paths: Vec<&str> =
        faults.as_array().unwrap().iter().map(|it| it["path"].as_str().unwrap()).collect();
    paths.sort_unstable();
    let wanted = [
        "remote_desktop.enabled",
        "remote_desktop.nla",
        "remote_desktop.port",
        "remote_desktop.rules",
        // What is missing has no place of its own.
        "winrm",
        "winrm.basic",
        "winrm.port",
    ];
    assert_eq!(paths, wanted, "{}", refused.text);
    let same =
        |enabled: bool| with(json!({ "enabled": enabled, "port": 5986 }), json!({ "https": true }));
    let refused = plane.put(WEB, &[], same(true)).await;
    assert_eq!(refused.problem()["faults"][0]["path"], "winrm", "{}", refused.text);
    assert_eq!(plane.put(WEB, &[], same(false)).await.status, 200);
}
