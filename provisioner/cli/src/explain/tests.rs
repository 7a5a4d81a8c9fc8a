//! The tables against the model and the examples.

use mezame_model::api::Kind;

use super::*;
use crate::seed;

#[test]
fn every_field_of_an_example_is_in_the_table() {
    for kind in Kind::ALL {
        let reading = seed::read(examples::of(kind).as_bytes());
        assert_eq!(reading.faults, [], "{kind:?}");
        assert_eq!(reading.documents.len(), 1);
        for (path, _) in reading.documents[0].root.paths() {
            assert!(path == "kind" || knows(kind, &path), "{kind:?} {path}");
        }
    }
}

#[test]
fn a_field_stands_below_the_field_that_it_is_in() {
    for kind in Kind::ALL {
        let fields = fields::of(kind);
        for (at, field) in fields.iter().enumerate() {
            if let Some((parent, _)) = field.path.rsplit_once('.') {
                assert!(fields[..at].iter().any(|f| f.path == parent), "{}", field.path);
            }
            assert_eq!(fields.iter().filter(|f| f.path == field.path).count(), 1);
        }
    }
}

#[test]
fn paths_of_faults_are_known_with_numbers_and_keys_of_maps() {
    assert!(knows(Kind::Instance, "users[3].password.hash"));
    assert!(knows(Kind::Instance, "tags.any.key"));
    assert!(knows(Kind::Instance, "tags[\"any\"]"));
    assert!(knows(Kind::Instance, ""));
    assert!(!knows(Kind::Instance, "users[0].pasword"));
    assert!(!knows(Kind::Network, "mac"));
}

#[test]
fn one_field_is_explained_with_those_in_it() {
    let text = of_field(Kind::Instance, "users[0].password", false).unwrap();
    assert!(text.contains("password  <hash or generate>") && text.contains("generate  <true>"));
    assert!(!text.contains("groups"));
    assert_eq!(of_field(Kind::Instance, "nothing", false), None);
}
