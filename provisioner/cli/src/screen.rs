//! What the command writes: results to standard output, messages to standard error.
//!
//! So that results can be piped, nothing but results goes to standard output. Colour only where a
//! person looks at it.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

/// The form of results.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns for people.
    #[default]
    Table,
    /// The table with more columns.
    Wide,
    /// What the API answered, as JSON.
    Json,
    /// What the API answered, as YAML.
    Yaml,
    /// One `kind/name` a line.
    Name,
    /// Documents that can be applied again.
    Seed,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A colour of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// What comes.
    Green,
    /// What goes, and errors.
    Red,
    /// What changes.
    Yellow,
    /// Less important.
    Dim,
    /// More important.
    Bold,
}

/// The text, coloured if `on`.
pub fn paint(on: bool, paint: Paint, text: &str) -> String {
    let code = match paint {
        Paint::Green => 32,
        Paint::Red => 31,
        Paint::Yellow => 33,
        Paint::Dim => 2,
        Paint::Bold => 1,
    };
    if on { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// Where results and messages go.
#[derive(Debug, Clone)]
pub struct Screen {
    /// The form of results.
    pub format: Format,
    /// Whether messages that are no errors are left out.
    pub quiet: bool,
    /// Whether results are coloured.
    pub color: bool,
    /// Whether messages are coloured.
    pub message_color: bool,
}

impl Screen {
    /// For this process's own outputs.
    pub fn of_process(format: Format, quiet: bool, color: ColorChoice) -> Self {
        let wanted = |is_terminal: bool| match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
                    || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
                is_terminal && !unwanted
            }
        };
        Self {
            format,
            quiet,
            color: wanted(io::stdout().is_terminal()),
            message_color: wanted(io::stderr().is_terminal()),
        }
    }

    /// Writes a result.
    pub fn print(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Writes a value as JSON or YAML, as the format says.
    pub fn print_value(&self, value: &impl Serialize) -> io::Result<()> {
        if self.format == Format::Yaml {
            self.print(&serde_yaml::to_string(value).map_err(io::Error::other)?)
        } else {
            self.print(&format!("{}\n", serde_json::to_string_pretty(value)?))
        }
    }

    /// Prints a list as data or as names, or says that it is empty; whether a table is wanted of it.
    pub fn wants_table<T: Serialize>(
        &self,
        items: &[T],
        none: &str,
        name: impl Fn(&T) -> String,
    ) -> io::Result<bool> {
        if self.is_data() {
            self.print_value(&items)?;
        } else if self.format == Format::Name {
            self.print(&items.iter().map(|item| name(item) + "\n").collect::<String>())?;
        } else if items.is_empty() {
            self.say(none);
        } else {
            return Ok(true);
        }
        Ok(false)
    }

    /// Whether results are for programs to parse.
    pub fn is_data(&self) -> bool {
        matches!(self.format, Format::Json | Format::Yaml)
    }

    /// Says something that is no result, unless quiet.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            self.complain(text);
        }
    }

    /// Says something that even `--quiet` must not hide.
    pub fn complain(&self, text: &str) {
        // A closed standard error must not end the command.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}
