//! What the program says: its results on standard output, all else on standard error.
//!
//! Whoever reads may stop to, as `head` does, and a disk may be full. The standard macros panic then;
//! these, which all of the program uses under the same names, do not. What is said may quote names
//! out of files, whose control characters must not reach a terminal.

use crate::plain::short;
use std::borrow::Cow;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process::exit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// A line of results.
macro_rules! println {
    () => { $crate::console::say(format_args!("")) };
    ($($said:tt)*) => { $crate::console::say(format_args!($($said)*)) };
}

/// A line about what happens.
macro_rules! eprintln {
    ($($said:tt)*) => { $crate::console::remark(format_args!($($said)*)) };
}

/// Whether the command goes on when nobody reads its results.
static GOES_ON: AtomicBool = AtomicBool::new(false);
/// Whether standard output is for a file that the command writes.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// What lines of this process begin with, where it is one of several; none for a silent one.
static RANK: OnceLock<Option<String>> = OnceLock::new();

/// Says from now on nothing, or begins every line with a name.
pub(crate) fn be_rank(name: Option<String>) {
    // The first choice stays: there is one command line.
    let _ = RANK.set(name);
}

/// Whether nothing is said.
pub(crate) fn is_silent() -> bool {
    matches!(RANK.get(), Some(None))
}

/// Whether only results, warnings and errors are wanted.
static QUIET: AtomicBool = AtomicBool::new(false);

/// From now on only results, warnings and errors are said.
pub(crate) fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Whether only results, warnings and errors are wanted.
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Marks a command whose results are files, and that takes long to make them.
pub(crate) fn go_on_unread() {
    GOES_ON.store(true, Ordering::Relaxed);
}

/// Keeps standard output for a file: lines of results go to standard error.
pub(crate) fn keep_output_for_a_file() {
    TAKEN.store(true, Ordering::Relaxed);
}

/// [`println!`]. When nobody reads, the program ends: quietly where they have read enough.
pub(crate) fn say(said: fmt::Arguments) {
    if TAKEN.load(Ordering::Relaxed) {
        return remark(said);
    }
    if let Err(error) = write_line(&mut io::stdout().lock(), said)
        && !GOES_ON.load(Ordering::Relaxed)
    {
        end_unread(&error);
    }
}

/// [`eprintln!`]. Nothing is to be done when nobody reads. Long lines are cut.
pub(crate) fn remark(said: fmt::Arguments) {
    let said = said.to_string();
    let lines: Vec<_> = said.split('\n').map(short).collect();
    let _ = write_line(
        &mut io::stderr().lock(),
        format_args!("{}", lines.join("\n")),
    );
}

/// Says something that must be heard, from a silent process too.
pub(crate) fn insist(said: fmt::Arguments) {
    let said = said.to_string();
    let _ = writeln!(io::stderr().lock(), "{}", visible(&said));
}

/// Says something that is good to know: not with --quiet.
pub(crate) fn note(note: fmt::Arguments) {
    if !is_quiet() {
        remark(format_args!("note: {note}"));
    }
}

/// Names the command to run next, for people: not with --quiet.
pub(crate) fn next(command: fmt::Arguments) {
    if !is_quiet() {
        remark(format_args!("Next: {command}"));
    }
}

/// Ends the program because its output cannot be written.
pub(crate) fn end_unread(error: &io::Error) -> ! {
    if error.kind() == ErrorKind::BrokenPipe {
        exit(0);
    }
    remark(format_args!(
        "error: cannot write to standard output ({error}): free some space or choose another place"
    ));
    exit(1)
}

/// Standard error for the log, which goes on when nobody reads it.
pub(crate) struct Log;

impl Write for Log {
    /// A whole line at a time, as the log writes it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        let _ = write_line(
            &mut io::stderr().lock(),
            format_args!("{}", line.trim_end_matches('\n')),
        );
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_line(out: &mut impl Write, said: fmt::Arguments) -> io::Result<()> {
    let line = said.to_string();
    match RANK.get() {
        None => writeln!(out, "{}", visible(&line))?,
        Some(None) => return Ok(()),
        Some(Some(name)) => writeln!(out, "{name}: {}", visible(&line))?,
    }
    out.flush()
}

/// A text with its control characters written out as JSON writes them, so that JSON stays JSON. Lines
/// and columns stay.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| c.is_control() && !['\n', '\t'].contains(&c) || turns_text_around(c);
    if !text.contains(hidden) {
        return text.into();
    }
    let written = text.chars().map(|c| match hidden(c) {
        true => format!("\\u{:04x}", u32::from(c)),
        false => c.into(),
    });
    written.collect()
}

/// Marks that show a text in another order than it has, and those that some programs end lines at.
fn turns_text_around(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(visible("a\tcafé 猫\n"), "a\tcafé 猫\n");
        assert_eq!(
            visible("\u{1b}[31mred\r\u{9b}0m\u{202e}\u{200f}\u{2028}"),
            "\\u001b[31mred\\u000d\\u009b0m\\u202e\\u200f\\u2028"
        );
    }
}
