//! What every document has whatever its kind: `kind`, `project` and `name`.
//!
//! Only what this program itself needs is looked at; everything else is the control plane's to
//! judge. The project that the operator chose is filled in where a document names none.

use mezame_model::api::Kind;
use serde_json::Value;

use super::{
    Document, TextFault,
    node::{Content, Node},
};

/// The project for documents that name none.
#[derive(Debug, Clone, Default)]
pub struct DefaultProject {
    /// Its name, if one was chosen.
    pub name: Option<String>,
    /// Whether it was given on the command line, so that another one in a document is a fault.
    pub is_strict: bool,
}

/// A document whose kind is known. Debug shows which one it is, not what it says.
#[derive(Clone)]
pub struct Item {
    /// What it describes.
    pub kind: Kind,
    /// Where it belongs; none for a project, or where nobody said.
    pub project: Option<String>,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The document to be sent.
    pub value: Value,
    /// Its places.
    pub document: Document,
}

impl std::fmt::Debug for Item {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Item")
            .field("kind", &self.kind)
            .field("project", &self.project)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Looks at a document's envelope; all that is wrong with it at once.
pub fn open(document: Document, default: &DefaultProject) -> Result<Item, Vec<TextFault>> {
    let root = &document.root;
    let mut faults = Vec::new();
    let kind = kind(root).map_err(|fault| faults.push(fault)).ok();
    if let Some(fault) = foreign_shape(root) {
        faults.push(fault);
    }
    let mut value = root.to_value();
    let own = root.text("project").map(str::to_owned);
    let project = match (kind, own) {
        (Some(Kind::Project), _) => None,
        (_, Some(own)) => {
            if let Some(wanted) = default.name.as_ref().filter(|n| default.is_strict && **n != own)
            {
                let place = root.locate("project").place();
                faults.push(TextFault {
                    place,
                    message: format!("the document is of project {own:?}, not {wanted:?}"),
                    mend: "leave out -p, or the field".into(),
                });
            }
            Some(own)
        }
        (_, None) => {
            if let (Some(name), Value::Object(fields)) = (&default.name, &mut value) {
                // One that is there but no text is the control plane's to refuse.
                fields.entry("project").or_insert_with(|| Value::String(name.clone()));
            }
            default.name.clone()
        }
    };
    let name = root.text("name").map(str::to_owned);
    match kind {
        Some(kind) if faults.is_empty() => Ok(Item { kind, project, name, value, document }),
        _ => Err(faults),
    }
}

fn kind(root: &Node) -> Result<Kind, TextFault> {
    let all = || Kind::ALL.map(Kind::as_str).join(", ");
    let Some(entry) = root.field("kind") else {
        return Err(TextFault {
            place: root.place,
            message: "the document has no kind".into(),
            mend: format!("begin it with 'kind: ' and one of {}", all()),
        });
    };
    let text = match &entry.node.content {
        Content::Scalar(Value::String(text)) => text.as_str(),
        _ => "",
    };
    if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == text) {
        return Ok(kind);
    }
    let meant = Kind::ALL.into_iter().find(|kind| {
        kind.as_str().eq_ignore_ascii_case(text) || kind.plural().eq_ignore_ascii_case(text)
    });
    Err(TextFault {
        place: entry.node.place,
        message: format!("{:?} is no kind", text.chars().take(80).collect::<String>()),
        mend: match meant {
            Some(kind) => format!("write 'kind: {}'", kind.as_str()),
            None => format!("write one of {}", all()),
        },
    })
}

/// A document in the form of another system, or of `-o yaml`.
fn foreign_shape(root: &Node) -> Option<TextFault> {
    let entry = root.field("metadata").or_else(|| root.field("spec"))?;
    Some(TextFault {
        place: entry.place,
        message: format!("a seed has no {:?} around its fields", entry.key),
        mend: "write the fields beside 'kind'; 'mezame get -o seed' writes documents so".into(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn open_text(text: &str, default: &DefaultProject) -> Result<Item, Vec<String>> {
        let document = super::super::read(text.as_bytes()).documents.remove(0);
        open(document, default).map_err(|faults| {
            faults.iter().map(|f| format!("{}: {} ({})", f.place.line, f.message, f.mend)).collect()
        })
    }

    #[test]
    fn the_chosen_project_is_filled_in_where_the_document_names_none() {
        let default = DefaultProject { name: Some("a".into()), is_strict: true };
        let item = open_text("kind: Port\nname: p\n", &default).unwrap();
        assert_eq!(item.value, json!({"kind": "Port", "name": "p", "project": "a"}));
        assert_eq!(open_text("kind: Project\nname: p\n", &default).unwrap().project, None);
        let faults = open_text("kind: Port\nproject: b\n", &default).unwrap_err();
        assert_eq!(
            faults,
            ["2: the document is of project \"b\", not \"a\" (leave out -p, or the field)"]
        );
        let loose = DefaultProject { is_strict: false, ..default };
        assert_eq!(
            open_text("kind: Port\nproject: b\n", &loose).unwrap().project.as_deref(),
            Some("b")
        );
    }

    #[test]
    fn a_wrong_kind_is_mended_where_the_meaning_is_plain() {
        let none = DefaultProject::default();
        assert_eq!(
            open_text("kind: instances\n", &none).unwrap_err(),
            ["1: \"instances\" is no kind (write 'kind: Instance')"]
        );
        assert_eq!(
            open_text("apiVersion: v1\nmetadata: {}\n", &none).unwrap_err(),
            [
                "1: the document has no kind (begin it with 'kind: ' and one of Project, Network, \
                 Port, Instance)",
                "2: a seed has no \"metadata\" around its fields (write the fields beside 'kind'; \
                 'mezame get -o seed' writes documents so)"
            ]
        );
    }
}
