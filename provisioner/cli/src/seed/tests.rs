//! The reader's cases and properties.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn value(text: &str) -> serde_json::Value {
    let reading = read(text.as_bytes());
    assert_eq!(reading.faults, [], "{text}");
    assert_eq!(reading.documents.len(), 1, "{text}");
    reading.documents[0].root.to_value()
}

/// `line:column message` of each fault.
fn faults(text: &str) -> Vec<String> {
    read(text.as_bytes())
        .faults
        .iter()
        .map(|f| format!("{}:{} {}", f.place.line, f.place.column, f.message))
        .collect()
}

#[test]
fn documents_are_read_in_their_order_and_empty_ones_are_passed_over() {
    let reading = read(b"# seed\n---\nkind: Project\nname: a\n---\n# nothing\n---\nname: b\n...\n");
    assert_eq!(reading.faults, []);
    let names: Vec<_> = reading.documents.iter().filter_map(|d| d.root.text("name")).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(read(b"").documents.is_empty());
    assert!(read(b"\n# nothing\n").faults.is_empty());
}

#[test]
fn json_is_read_with_tabs_and_a_list_of_documents() {
    let text =
        "[\n\t{\"kind\": \"Network\", \"vni\": 1000, \"dns\": []},\n\t{\"kind\":\"Port\"}\n]\n";
    let reading = read(text.as_bytes());
    assert_eq!(reading.faults, []);
    assert_eq!(
        reading.documents[0].root.to_value(),
        json!({"kind": "Network", "vni": 1000, "dns": []})
    );
    assert_eq!(reading.documents[1].root.field("kind").map(|e| e.place.line), Some(3));
}

#[test]
fn every_scalar_style_gives_its_text() {
    assert_eq!(
        value(
            "a: plain text\nb: 'it''s'\nc: \"x\\ty\"\nd: |\n  #!/bin/sh\n  true\ne: >-\n  one\n  two\nf: no\n"
        ),
        json!({"a": "plain text", "b": "it's", "c": "x\ty", "d": "#!/bin/sh\ntrue\n",
               "e": "one two", "f": "no"})
    );
}

#[test]
fn anchors_aliases_and_merge_keys_are_expanded() {
    assert_eq!(
        value("x: &d {a: 1, b: 2}\ny: {<<: *d, b: 3}\nz: *d\nw: {<<: [{a: 9}, *d]}\n"),
        json!({"x": {"a": 1, "b": 2}, "y": {"a": 1, "b": 3}, "z": {"a": 1, "b": 2},
               "w": {"a": 9, "b": 2}})
    );
}

#[test]
fn an_anchor_of_another_document_and_one_inside_itself_are_refused() {
    assert_eq!(faults("a: &x 1\n---\nb: *x\n"), ["3:4 no anchor of this name in this document"]);
    assert_eq!(faults("a: &x [1, *x]\n"), ["1:11 an alias inside of what it names"]);
}

#[test]
fn a_billion_laughs_are_refused_before_they_are_expanded() {
    let mut text = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for n in 1..30 {
        let alias = format!("*a{}", n - 1);
        text += &format!("a{n}: &a{n} [{}]\n", [alias.as_str(); 9].join(", "));
    }
    let faults = faults(&text);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("expands to more than"), "{faults:?}");
}

#[test]
fn nesting_beyond_the_bound_is_refused_in_both_styles() {
    for text in ["[".repeat(100_000), "- ".repeat(10_000), "{a: ".repeat(10_000)] {
        let faults = faults(&text);
        assert!(faults[0].contains("nested deeper than"), "{:?}", &faults[..1]);
    }
}

#[test]
fn a_seed_beyond_the_greatest_length_is_refused() {
    let faults = read(&vec![b' '; MAX_BYTES + 1]).faults;
    assert!(faults[0].message.contains("more than"), "{faults:?}");
}

#[test]
fn all_faults_are_found_at_once_and_a_broken_document_hides_no_other() {
    let text = "kind: Network\nvni: 1\nvni: 2\n---\nname: \"open\nkind: Port\n---\n? [a]\n: 1\n\
                ---\n- 5\n---\nkind: Project\nx: !!binary aGk=\ny: .inf\n";
    assert_eq!(
        faults(text),
        [
            "3:1 field \"vni\" is given twice; first in line 2",
            "5:7 not valid YAML: invalid indentation in quoted scalar",
            "8:3 a field's name must be a text",
            "11:3 a document must be a mapping",
            "14:4 a tag that seeds don't have",
            "15:4 a number that JSON can't hold",
        ]
    );
}

#[test]
fn a_tab_in_the_indentation_is_named_as_such() {
    assert_eq!(
        faults("kind: Network\nsubnets:\n\t- cidr: 10.0.0.0/24\n"),
        ["3:2 a tab is used for indentation"]
    );
}

#[test]
fn bytes_that_are_no_utf_8_are_faults_at_their_place() {
    assert_eq!(
        read(b"a: 1\nb: \xff\n").faults.first().map(|f| (f.place.line, f.place.column)),
        Some((2, 4))
    );
    assert!(read(b"\xff\xfea\0").faults[0].message.contains("UTF-16"));
    assert_eq!(value("\u{feff}a: 1\n"), json!({"a": 1}));
}

#[test]
fn paths_lead_to_keys_values_and_the_nearest_place_that_exists() {
    let text = "kind: Instance\nusers:\n  - name: ä\n    ssh_keys:\n      - one\n      - two\n\
                tags:\n  a.b/c[0]: x\n";
    let root = std::rc::Rc::clone(&read(text.as_bytes()).documents[0].root);
    let at = |path: &str| {
        let found = root.locate(path);
        (found.place().line, found.place().column, found.exact)
    };
    assert_eq!(at("users[0].ssh_keys[1]"), (6, 9, true));
    assert_eq!(at("users[0].ssh_keys"), (4, 5, true));
    assert_eq!(at("users[0]"), (3, 5, true));
    assert_eq!(at("users[0].shell"), (3, 5, false));
    assert_eq!(at("users[7].name"), (2, 1, false));
    assert_eq!(at("tags.a.b/c[0]"), (8, 13, true));
    assert_eq!(at("tags[\"a.b/c[0]\"]"), (8, 13, true));
    assert_eq!(at("hostname"), (1, 1, false));
    assert_eq!(at(""), (1, 1, true));
}

/// Texts that are nearly YAML.
fn yamlish() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "a",
        "kind",
        ": ",
        ":",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "&x ",
        "*x",
        "<<: ",
        "'",
        "\"",
        "|",
        ">-",
        "|2",
        "\t",
        "#",
        "---\n",
        "...\n",
        "? ",
        "!!str ",
        "!x ",
        "%TAG ! x\n",
        "é",
        "\u{85}",
        "\r",
        "\r\n",
        "0x1",
        "~",
        "\\x",
        "\0",
        "\u{feff}",
    ]);
    prop::collection::vec(token, 0..60).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
    }

    #[test]
    fn every_node_and_fault_stands_inside_of_the_text(text in yamlish()) {
        let reading = read(text.as_bytes());
        let chars = text.chars().count();
        let lines = text.split(['\n', '\r']).count();
        let inside = |place: Place| place.line >= 1 && place.column >= 1
            && place.line <= lines + 1 && place.start <= chars && place.end <= chars + 1;
        for fault in &reading.faults {
            prop_assert!(inside(fault.place), "{fault:?} in {text:?}");
        }
        for document in &reading.documents {
            for (path, node) in document.root.paths() {
                prop_assert!(inside(node.place), "{path:?} {:?} in {text:?}", node.place);
                let found = document.root.locate(&path);
                prop_assert!(inside(found.place()), "{path:?}");
            }
        }
    }

    #[test]
    fn every_path_of_a_json_value_leads_to_its_own_place(
        value in prop::collection::hash_map("[a-z_]{1,8}", tree(), 1..5)
    ) {
        let text = serde_json::to_string_pretty(&value).unwrap();
        let reading = read(text.as_bytes());
        prop_assert_eq!(&reading.faults, &[]);
        let root = &reading.documents[0].root;
        prop_assert_eq!(root.to_value(), serde_json::to_value(&value).unwrap());
        for (path, node) in root.paths() {
            let found = root.locate(&path);
            prop_assert!(found.exact, "{}", path);
            prop_assert_eq!(found.value, node.place, "{}", path);
        }
    }
}

fn tree() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        any::<i64>().prop_map(|n| json!(n)),
        ".{0,12}".prop_map(|s| json!(s)),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::hash_map("[a-z_]{1,8}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

#[test]
fn debug_shows_nothing_that_a_seed_says() {
    let bytes = b"kind: Instance\nname: web\nuser_data: hunter2\nusers:\n- password: hunter2\n";
    let source =
        source::Source { name: "web.yaml".into(), folder: "".into(), bytes: bytes.to_vec() };
    let default = envelope::DefaultProject { name: Some("p".into()), is_strict: false };
    let reading = read(bytes);
    let item = envelope::open(reading.documents[0].clone(), &default).unwrap();
    let shown = format!("{source:?} {reading:?} {item:?}");
    let bundle = crate::bundle::Bundle::read(vec![source], &default);
    let shown = format!("{shown} {bundle:?}");
    assert!(shown.contains("web.yaml") && shown.contains("user_data"), "{shown}");
    // As a list of numbers it would begin so, too.
    assert!(!shown.contains("hunter2") && !shown.contains("104, 117, 110"), "{shown}");
}
