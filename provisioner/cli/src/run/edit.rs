//! `edit`: one thing in the operator's editor, saved only if nobody else changed it meanwhile.
//!
//! ```text
//! fetch (ETag) → editor ─┬─ unchanged ─────────────► done
//!                  ▲     └─ replace, If-Match ETag ─┬─ done
//!                  ├── faults, shown at their lines ┤
//!                  └── changed meanwhile ───────────┘ (the file is kept, the operator is told)
//! ```

use std::{
    ffi::OsString,
    fs,
    io::{self, IsTerminal, Write},
    path::Path,
};

use super::{Session, get, rows};
use crate::{
    bundle::Bundle,
    client::{Precondition, Tagged, error::ClientError},
    command::NamedArguments,
    exit::Exit,
    failure::Failure,
    fault_report,
    kind_name::Name,
    seed::source::Source,
};

const HEADER: &str = "\
# Save and close to change it; an unchanged or empty file changes nothing.
# '(sealed)' stands for a secret that stays as it is.
";

pub(super) async fn run(session: &Session<'_>, arguments: NamedArguments) -> Result<Exit, Failure> {
    let name = session.name(arguments.kind, &arguments.name)?;
    let tagged = get::fetch(session, &name).await?;
    let precondition = precondition(&tagged);
    let original = rows::document(name.kind, &tagged.resource.spec)?;
    let file = tempfile::Builder::new()
        .prefix(&format!("mezame-{}-", name.name))
        .suffix(".yaml")
        .tempfile()?;
    fs::write(file.path(), format!("{HEADER}{original}"))?;
    loop {
        open_editor(file.path()).await?;
        let text = fs::read(file.path())?;
        if is_unchanged(&text, &original) {
            session.screen.say("nothing was changed");
            return Ok(Exit::Success);
        }
        let exit = match save(session, &name, &precondition, text).await? {
            Saved::Done => return Ok(Exit::Success),
            Saved::Refused(exit) => exit,
        };
        if !ask_again() {
            // What was written is not lost.
            let (_, path) = file.keep().map_err(|error| error.error)?;
            session.screen.complain(&format!(
                "mezame: nothing was changed; what you wrote is in {}",
                path.display()
            ));
            return Ok(exit);
        }
    }
}

fn precondition(tagged: &Tagged) -> Precondition {
    match &tagged.etag {
        Some(etag) => Precondition::Match(etag.clone()),
        None => Precondition::Revision(tagged.resource.revision),
    }
}

fn is_unchanged(text: &[u8], original: &str) -> bool {
    let text = String::from_utf8_lossy(text);
    let plain = |text: &str| {
        let lines: Vec<String> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.trim_end().to_owned())
            .collect();
        lines.join("\n").trim_end().to_owned()
    };
    let text = plain(&text);
    text.is_empty() || text == plain(original)
}

enum Saved {
    Done,
    Refused(Exit),
}

async fn save(
    session: &Session<'_>,
    name: &Name,
    precondition: &Precondition,
    text: Vec<u8>,
) -> Result<Saved, Failure> {
    let source = Source { name: "<edited>".into(), folder: ".".into(), bytes: text };
    let bundle = Bundle::read(vec![source], &session.default_project());
    let refused = |faults: &[_], exit| {
        session.screen.complain(&fault_report::render(faults, session.screen.message_color));
        Ok(Saved::Refused(exit))
    };
    if !bundle.faults().is_empty() {
        return refused(bundle.faults(), Exit::Faults);
    }
    let mut items = bundle.items();
    let (Some(item), 0) = (items.next(), items.len()) else {
        session.screen.complain("mezame: the file must hold one document");
        return Ok(Saved::Refused(Exit::Faults));
    };
    if item.kind != name.kind || item.name.as_deref() != Some(&name.name) {
        session.screen.complain(&format!("mezame: kind and name must stay those of {name}"));
        return Ok(Saved::Refused(Exit::Faults));
    }
    match session.client.replace(name, &item.value, precondition).await {
        Ok(resource) => {
            session.screen.say(&format!("{name} changed; generation {}", resource.revision));
            Ok(Saved::Done)
        }
        Err(ClientError::Problem(problem)) if problem.status == 412 => {
            session.screen.complain(&format!(
                "mezame: {name} was changed by somebody else meanwhile; nothing was overwritten"
            ));
            Ok(Saved::Refused(Exit::Conflict))
        }
        Err(ClientError::Problem(problem)) if !problem.faults.is_empty() => {
            let exit = Exit::of_status(problem.status, true);
            refused(&bundle.locate(&problem.faults), exit)
        }
        Err(source) => Err(Failure::About { name: Box::new(name.clone()), source }),
    }
}

/// Whether to open the editor again. Without a person to ask: no.
fn ask_again() -> bool {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return false;
    }
    let _ = write!(io::stderr(), "Open the editor again? [Y/n] ");
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .is_ok_and(|read| read > 0 && !answer.trim().to_ascii_lowercase().starts_with('n'))
}

/// VISUAL, EDITOR or vi, with their arguments, as a shell would start them.
async fn open_editor(path: &Path) -> Result<(), Failure> {
    let editor = ["VISUAL", "EDITOR"]
        .iter()
        .find_map(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
        .unwrap_or_else(|| OsString::from("vi"));
    let failed = |source| Failure::Editor { editor: editor.to_string_lossy().into_owned(), source };
    let mut script = editor.clone();
    script.push(" \"$1\"");
    let status = tokio::process::Command::new("sh")
        .arg("-c")
        .arg(script)
        .arg("sh")
        .arg(path)
        .status()
        .await
        .map_err(failed)?;
    if status.success() { Ok(()) } else { Err(failed(io::Error::other(status.to_string()))) }
}
