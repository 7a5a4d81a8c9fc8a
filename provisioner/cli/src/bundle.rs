//! The documents of a command, and the way from a fault back to its line.
//!
//! Many files become one list of documents, since the control plane applies them together and
//! numbers its faults by them.

use std::ops::Range;

use mezame_model::api::{Fault, Kind};

use crate::{
    explain,
    seed::{
        self, Document, Place, TextFault,
        attachment::attach,
        envelope::{DefaultProject, Item, open},
        mask,
        source::{LocalFiles, Source, SourceError, collect},
    },
};

/// The documents of a command.
#[derive(Debug)]
pub struct Bundle {
    sources: Vec<Source>,
    /// Where the lines of each source are, in bytes. Kept, since there may be many faults.
    lines: Vec<Vec<Range<usize>>>,
    /// Each with the number of its source.
    items: Vec<(usize, Item)>,
    /// What was wrong before anything was sent.
    faults: Vec<LocatedFault>,
}

/// A fault with everything that its reader needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocatedFault {
    /// The file, if the fault is in one.
    pub file: Option<String>,
    /// Where in it.
    pub place: Option<Place>,
    /// The line of the text, with what is secret left out.
    pub excerpt: Option<Excerpt>,
    /// Which document, such as `Instance demo/web`.
    pub document: String,
    /// Where in the document.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub mend: String,
}

/// A line of a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The characters; those that were secret are `(hidden)`.
    pub text: String,
    /// Which of them the fault is about.
    pub marked: Range<usize>,
}

impl Bundle {
    /// Reads all seeds, with the files that they name.
    pub fn load(
        names: &[String],
        recursive: bool,
        project: &DefaultProject,
    ) -> Result<Self, SourceError> {
        Ok(Self::read(collect(names, recursive)?, project))
    }

    /// Reads seeds that are at hand.
    pub fn read(sources: Vec<Source>, project: &DefaultProject) -> Self {
        let lines = sources
            .iter()
            .map(|source| seed::decode(&source.bytes).map(split_lines).unwrap_or_default())
            .collect();
        let mut bundle = Self { sources, lines, items: Vec::new(), faults: Vec::new() };
        for at in 0..bundle.sources.len() {
            let reading = seed::read(&bundle.sources[at].bytes);
            let mut found: Vec<LocatedFault> =
                reading.faults.iter().map(|fault| bundle.unread(at, fault)).collect();
            for document in reading.documents {
                let title = title(&document, None);
                match open(document.clone(), project) {
                    Ok(mut item) => {
                        let folder = bundle.sources[at].folder.clone();
                        for fault in attach(&mut item, &folder, &LocalFiles) {
                            found.push(bundle.read_but_wrong(at, &document, &title, &fault));
                        }
                        bundle.items.push((at, item));
                    }
                    Err(faults) => found.extend(
                        faults.iter().map(|f| bundle.read_but_wrong(at, &document, &title, f)),
                    ),
                }
            }
            found.sort_by_key(|fault| fault.place.map(|place| place.start));
            bundle.faults.extend(found);
        }
        bundle
    }

    /// What was wrong before anything was sent.
    pub fn faults(&self) -> &[LocatedFault] {
        &self.faults
    }

    /// The documents, in their order.
    pub fn items(&self) -> impl ExactSizeIterator<Item = &Item> {
        self.items.iter().map(|(_, item)| item)
    }

    /// Finds the places of the control plane's faults.
    pub fn locate(&self, faults: &[Fault]) -> Vec<LocatedFault> {
        let source = |fault: &Fault| self.items.get(fault.document).map(|(at, _)| *at);
        let mut located: Vec<(Option<usize>, LocatedFault)> =
            faults.iter().map(|fault| (source(fault), self.locate_one(fault))).collect();
        // In the order of the text, as the operator goes through it.
        located.sort_by_key(|(at, fault)| (*at, fault.place.map(|place| place.start)));
        located.into_iter().map(|(_, fault)| fault).collect()
    }

    fn locate_one(&self, fault: &Fault) -> LocatedFault {
        let Some((at, item)) = self.items.get(fault.document) else {
            return LocatedFault {
                file: None,
                place: None,
                excerpt: None,
                document: format!("document {}", fault.document),
                path: fault.path.clone(),
                message: fault.message.clone(),
                mend: fault.mend.clone(),
            };
        };
        let root = &item.document.root;
        let found = root.locate(&sent_as(&fault.path, root));
        // Of a field that there is not, the name is wrong and not the value.
        let place = match found.key {
            Some(key) if found.exact && !explain::knows(item.kind, &fault.path) => key,
            _ => found.place(),
        };
        let hidden = mask::hidden_ranges(root);
        LocatedFault {
            file: Some(self.sources[*at].name.clone()),
            place: Some(place),
            excerpt: self.excerpt(*at, place, &hidden, false),
            document: title(&item.document, item.project.as_deref()),
            path: fault.path.clone(),
            message: fault.message.clone(),
            mend: fault.mend.clone(),
        }
    }

    fn unread(&self, at: usize, fault: &TextFault) -> LocatedFault {
        self.local(at, String::new(), fault, self.excerpt(at, fault.place, &[], true))
    }

    fn read_but_wrong(
        &self,
        at: usize,
        document: &Document,
        title: &str,
        fault: &TextFault,
    ) -> LocatedFault {
        let hidden = mask::hidden_ranges(&document.root);
        let excerpt = self.excerpt(at, fault.place, &hidden, false);
        self.local(at, title.to_owned(), fault, excerpt)
    }

    fn local(
        &self,
        at: usize,
        document: String,
        fault: &TextFault,
        excerpt: Option<Excerpt>,
    ) -> LocatedFault {
        LocatedFault {
            file: Some(self.sources[at].name.clone()),
            place: Some(fault.place),
            excerpt,
            document,
            path: String::new(),
            message: fault.message.clone(),
            mend: fault.mend.clone(),
        }
    }

    /// The line of a place. `guess` hides by the look of the text, where no tree tells better.
    fn excerpt(
        &self,
        at: usize,
        place: Place,
        hidden: &[Range<usize>],
        guess: bool,
    ) -> Option<Excerpt> {
        let text = seed::decode(&self.sources[at].bytes).ok()?;
        let lines = &self.lines[at];
        let line = text.get(lines.get(place.line - 1)?.clone())?;
        let length = line.chars().count();
        // Where the line begins, counted like the places.
        let begin = place.start.checked_sub(place.column - 1)?;
        let mut gone = vec![false; length];
        for range in hidden {
            let from = range.start.saturating_sub(begin).min(length);
            let to = range.end.saturating_sub(begin).min(length);
            gone[from..to.max(from)].fill(true);
        }
        if guess {
            let until: Vec<&str> =
                lines.iter().take(place.line).filter_map(|range| text.get(range.clone())).collect();
            if let Some(from) = mask::hidden_from(&until, place.line - 1) {
                gone[from.min(length)..].fill(true);
            }
        }
        let end = (place.column - 1 + place.end.saturating_sub(place.start)).min(length);
        Some(compose_line(line, &gone, place.column - 1..end.max(place.column)))
    }
}

/// A line with its hidden characters replaced, and what was marked in it still marked.
fn compose_line(line: &str, gone: &[bool], marked: Range<usize>) -> Excerpt {
    let mut text = String::new();
    let mut length = 0;
    let mut mark = None::<Range<usize>>;
    let mut hiding = false;
    for (at, c) in line.chars().enumerate() {
        let shown = if gone[at] {
            if std::mem::replace(&mut hiding, true) { "" } else { "(hidden)" }.to_owned()
        } else {
            hiding = false;
            // One column each, so that the mark stays below what it marks.
            if c.is_control() { " ".into() } else { c.to_string() }
        };
        let from = length;
        length += shown.chars().count();
        text.push_str(&shown);
        if marked.contains(&at) && length > from {
            mark = Some(mark.map_or(from, |mark| mark.start)..length);
        }
    }
    let marked = mark.unwrap_or(length..length + 1);
    Excerpt { text, marked }
}

/// Lines as YAML breaks them: at line feeds and carriage returns.
fn split_lines(text: &str) -> Vec<Range<usize>> {
    let mut lines = Vec::new();
    let mut begin = 0;
    while let Some(length) = text[begin..].find(['\n', '\r']) {
        let end = begin + length;
        lines.push(begin..end);
        begin = end + if text[end..].starts_with("\r\n") { 2 } else { 1 };
    }
    lines.push(begin..text.len());
    lines
}

/// `Instance demo/web`, as far as it is known.
fn title(document: &Document, project: Option<&str>) -> String {
    let root = &document.root;
    let is_kind = |text: &&str| Kind::ALL.iter().any(|kind| kind.as_str() == *text);
    let kind = root.text("kind").filter(is_kind).unwrap_or("document");
    match (root.text("project").or(project), root.text("name")) {
        (Some(project), Some(name)) if kind != Kind::Project.as_str() => {
            format!("{kind} {project}/{name}")
        }
        (_, Some(name)) => format!("{kind} {name}"),
        (_, None) => kind.to_owned(),
    }
}

/// A path as it was written, where a file's contents were sent in the place of its name.
fn sent_as(path: &str, root: &seed::Node) -> String {
    for name in ["user_data", "vendor_data"] {
        let file = format!("{name}_file");
        let is_sent = path == name || path == format!("{name}_base64");
        if is_sent && root.field(path).is_none() && root.field(&file).is_some() {
            return file;
        }
    }
    path.to_owned()
}
