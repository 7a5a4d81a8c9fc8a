//! Parser events to trees with places, all faults at once.
//!
//! The stack is explicit and bounded by [`MAX_DEPTH`]; an alias shares its anchor's node, and what
//! it would expand to is bounded by [`MAX_EXPANDED`] (the "billion laughs"). After a syntax error
//! reading goes on at the next line that begins a document, so that one slip does not hide another.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    rc::Rc,
};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::Value;

use super::{
    Document, MAX_DEPTH, MAX_EXPANDED, MAX_FAULTS, Reading, TextFault,
    merge::merge,
    node::{Content, Entry, Node, Place},
    scalar::{self, Unreadable},
    stop::{Stop, StopReason},
};

/// Composes all documents of a text.
pub(super) fn compose(text: &str) -> Reading {
    let mut reading = Reading::default();
    let mut expanded = 0;
    let mut from = Origin { byte: 0, chars: 0, lines: 0 };
    while let Some(rest) = text.get(from.byte..) {
        let mut composer = Composer::new(from, expanded);
        let stopped = composer.run(rest);
        expanded = composer.expanded;
        reading.documents.append(&mut composer.documents);
        reading.faults.append(&mut composer.faults);
        let Err(stop) = stopped else { break };
        let error_line = stop.place.line;
        if let Some(fault) = stop.describe(text) {
            reading.faults.push(fault);
        }
        match from.next_document(rest, error_line) {
            Some(next) if reading.faults.len() < MAX_FAULTS => from = next,
            _ => break,
        }
    }
    reading
}

/// Where in the whole text the parser began.
#[derive(Clone, Copy)]
struct Origin {
    byte: usize,
    chars: usize,
    lines: usize,
}

impl Origin {
    fn place(self, span: Span) -> Place {
        let start = span.start.index() + self.chars;
        Place {
            line: span.start.line() + self.lines,
            column: span.start.col() + 1,
            start,
            end: (span.end.index() + self.chars).max(start),
        }
    }

    fn point(self, mark: &Marker) -> Place {
        self.place(Span::empty(*mark))
    }

    /// The first line after `error_line` that begins a document.
    fn next_document(self, rest: &str, error_line: usize) -> Option<Self> {
        let mut at = self;
        for line in rest.split_inclusive('\n') {
            let begins = line.strip_prefix("---").is_some_and(|after| {
                after.is_empty() || after.starts_with([' ', '\t', '\n', '\r'])
            });
            if begins && at.lines + 1 > error_line && at.byte > self.byte {
                return Some(at);
            }
            at.byte += line.len();
            at.chars += line.chars().count();
            at.lines += 1;
        }
        None
    }
}

enum Frame {
    Sequence { place: Place, anchor: usize, items: Vec<Rc<Node>> },
    Mapping(MappingFrame),
}

struct MappingFrame {
    place: Place,
    anchor: usize,
    entries: Vec<Entry>,
    known: HashMap<String, Place>,
    merges: Vec<(Place, Rc<Node>)>,
    key: Key,
}

/// The key whose value comes next.
enum Key {
    /// None yet: the next node is a key.
    Awaited,
    Field(String, Place),
    Merge(Place),
    /// Faulty; its value is read and dropped.
    Dropped,
}

struct Composer {
    origin: Origin,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Rc<Node>>,
    /// Anchors whose node is still being read.
    open: HashSet<usize>,
    expanded: usize,
    documents: Vec<Document>,
    faults: Vec<TextFault>,
}

impl Composer {
    fn new(origin: Origin, expanded: usize) -> Self {
        Self {
            origin,
            stack: Vec::new(),
            anchors: HashMap::new(),
            open: HashSet::new(),
            expanded,
            documents: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn run(&mut self, text: &str) -> Result<(), Stop> {
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error: ScanError| Stop {
                place: self.origin.point(error.marker()),
                why: StopReason::of(&error),
            })?;
            self.take(event, span)?;
            if self.faults.len() >= MAX_FAULTS {
                let place = self.origin.place(span);
                return Err(Stop { place, why: StopReason::TooMany });
            }
        }
        Ok(())
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        let place = self.origin.place(span);
        match event {
            Event::DocumentStart(_) => {
                self.stack.clear();
                self.anchors.clear();
                self.open.clear();
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_merge = style == ScalarStyle::Plain && text == "<<" && tag.is_none();
                let node = self.scalar(place, &text, style, tag);
                self.finish(Rc::new(node), anchor, place, is_merge)
            }
            Event::Alias(anchor) => {
                let node = self.alias(place, anchor);
                self.finish(node, 0, place, false)
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(place, tag, "seq");
                self.open(place, anchor)?;
                self.stack.push(Frame::Sequence { place, anchor, items: Vec::new() });
                Ok(())
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(place, tag, "map");
                self.open(place, anchor)?;
                self.stack.push(Frame::Mapping(MappingFrame {
                    place,
                    anchor,
                    entries: Vec::new(),
                    known: HashMap::new(),
                    merges: Vec::new(),
                    key: Key::Awaited,
                }));
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.stack.pop() {
                Some(Frame::Sequence { place, anchor, items }) => {
                    self.finish(Rc::new(Node::sequence(place, items)), anchor, place, false)
                }
                Some(Frame::Mapping(frame)) => {
                    let (place, anchor) = (frame.place, frame.anchor);
                    let node = self.mapping(frame);
                    self.finish(Rc::new(node), anchor, place, false)
                }
                None => Ok(()),
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn open(&mut self, place: Place, anchor: usize) -> Result<(), Stop> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(Stop { place, why: StopReason::TooDeep });
        }
        if anchor != 0 {
            self.open.insert(anchor);
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        place: Place,
        text: &str,
        style: ScalarStyle,
        tag: Option<Cow<'_, Tag>>,
    ) -> Node {
        let value = match tag.as_deref() {
            None if style == ScalarStyle::Plain => scalar::plain(text),
            None => Ok(Value::String(text.into())),
            // The non-specific tag `!` says "a text".
            Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => Ok(text.into()),
            Some(tag) if tag.handle == "!" && tag.suffix.is_empty() => Ok(text.into()),
            Some(tag) if tag.is_yaml_core_schema() => scalar::tagged(&tag.suffix, text),
            Some(_) => Err(Unreadable::UnknownTag),
        };
        let value = value.unwrap_or_else(|why| {
            let (message, mend) = match why {
                Unreadable::NotFinite => ("a number that JSON can't hold", "write a finite number"),
                Unreadable::NotOfTag => {
                    ("the text is not of the type that its tag says", "leave the tag out")
                }
                Unreadable::UnknownTag => (
                    "a tag that seeds don't have",
                    "leave the tag out; binary user-data goes into user_data_base64 or \
                     user_data_file",
                ),
            };
            self.fault(place, message, mend);
            Value::Null
        });
        Node::scalar(place, value, text.len())
    }

    fn check_tag(&mut self, place: Place, tag: Option<Cow<'_, Tag>>, expected: &str) {
        if tag.is_some_and(|tag| !(tag.is_yaml_core_schema() && tag.suffix == expected)) {
            self.fault(place, "a tag that seeds don't have", "leave the tag out");
        }
    }

    fn alias(&mut self, place: Place, anchor: usize) -> Rc<Node> {
        match self.anchors.get(&anchor) {
            // The alias's own place, the anchor's fields' places.
            Some(node) => Rc::new(Node { place, ..Node::clone(node) }),
            None if self.open.contains(&anchor) => {
                self.fault(place, "an alias inside of what it names", "write it without an alias");
                Rc::new(Node::scalar(place, Value::Null, 0))
            }
            None => {
                let mend = "define the anchor with '&NAME' earlier in the same document";
                self.fault(place, "no anchor of this name in this document", mend);
                Rc::new(Node::scalar(place, Value::Null, 0))
            }
        }
    }

    /// A node is whole: it becomes an item, a key, a value or a document.
    fn finish(
        &mut self,
        node: Rc<Node>,
        anchor: usize,
        place: Place,
        is_merge: bool,
    ) -> Result<(), Stop> {
        if self.expanded.saturating_add(node.weight) > MAX_EXPANDED {
            return Err(Stop { place, why: StopReason::TooBig });
        }
        if anchor != 0 {
            self.open.remove(&anchor);
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        match self.stack.last_mut() {
            Some(Frame::Sequence { items, .. }) => items.push(node),
            Some(Frame::Mapping(frame)) => match std::mem::replace(&mut frame.key, Key::Awaited) {
                Key::Awaited => {
                    let (key, fault) = frame.key_of(&node, place, is_merge);
                    frame.key = key;
                    if let Some((message, mend)) = fault {
                        self.fault(place, &message, mend);
                    }
                }
                Key::Field(key, place) => frame.entries.push(Entry { key, place, node }),
                Key::Merge(place) => frame.merges.push((place, node)),
                Key::Dropped => {}
            },
            None => self.document(node)?,
        }
        Ok(())
    }

    fn mapping(&mut self, mut frame: MappingFrame) -> Node {
        for (place, source) in std::mem::take(&mut frame.merges) {
            if merge(&mut frame.entries, &source).is_err() {
                let mend = "write '<<: *NAME', or '\"<<\"' for a field of that name";
                self.fault(place, "only mappings can be merged", mend);
            }
        }
        Node::mapping(frame.place, frame.entries)
    }

    fn document(&mut self, node: Rc<Node>) -> Result<(), Stop> {
        self.expanded = self.expanded.saturating_add(node.weight);
        let roots = match &node.content {
            // Nothing but comments between two `---`.
            Content::Scalar(Value::Null) => return Ok(()),
            Content::Sequence(items) => items.clone(),
            _ => vec![node],
        };
        for root in roots {
            if matches!(root.content, Content::Mapping(_)) {
                self.documents.push(Document { root });
            } else {
                let mend = "begin it with 'kind: Instance' and the fields below; documents are \
                            parted by a line '---'";
                self.fault(root.place, "a document must be a mapping", mend);
            }
        }
        Ok(())
    }

    fn fault(&mut self, place: Place, message: &str, mend: &str) {
        self.faults.push(TextFault { place, message: message.into(), mend: mend.into() });
    }
}

impl MappingFrame {
    /// What a node in the place of a key means, and what is wrong with it.
    fn key_of(
        &mut self,
        node: &Node,
        place: Place,
        is_merge: bool,
    ) -> (Key, Option<(String, &'static str)>) {
        let text = match &node.content {
            Content::Scalar(_) if is_merge => return (Key::Merge(place), None),
            Content::Scalar(Value::String(text)) => text.clone(),
            Content::Scalar(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            _ => {
                let fault = ("a field's name must be a text".to_owned(), "quote the name");
                return (Key::Dropped, Some(fault));
            }
        };
        if let Some(first) = self.known.get(&text) {
            let shown: String = text.chars().take(80).collect();
            let message = format!("field {shown:?} is given twice; first in line {}", first.line);
            return (Key::Dropped, Some((message, "keep one of the two")));
        }
        self.known.insert(text.clone(), place);
        (Key::Field(text, place), None)
    }
}
