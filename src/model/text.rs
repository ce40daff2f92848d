//! The one escape for whatever a store, a source or an operating system says: a name may hold what moves a terminal's
//! cursor, sets its title, begins a line of its own, turns the direction of text, or cannot be seen.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Whether a character is not shown as it is: control characters (C0, DEL, C1), line and paragraph separators, blanks other
/// than the space, marks of direction and others that have no width, and what is not assigned.
fn is_unsafe(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    // What takes no room, though Unicode counts it as a letter or a mark.
    let invisible = matches!(c,
        '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2800}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0100}'..='\u{e01ef}');
    if invisible {
        return true;
    }
    // std knows what is printable, and tells by its escapes. Behind a letter, a combining mark is no reason for one.
    let mut text = [b'x'; 5];
    let length = c.encode_utf8(&mut text[1..]).len();
    let text = std::str::from_utf8(text.get(..=length).unwrap_or_default()).unwrap_or_default();
    text.escape_debug().nth(1) != Some(c)
}

fn write_escaped(out: &mut impl Write, text: &str, is_unsafe: impl Fn(char) -> bool) -> fmt::Result {
    text.chars().try_for_each(|c| match is_unsafe(c) {
        true => write!(out, "{}", c.escape_default()),
        false => out.write_char(c),
    })
}

fn escaped(text: &str, is_unsafe: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    // A String takes whatever is written.
    let _ = write_escaped(&mut out, text, is_unsafe);
    Cow::Owned(out)
}

/// A text on one line, with nothing in it that a terminal takes for more than text.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_unsafe)
}

/// The same of a text that has lines of its own.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_unsafe(c))
}

/// A JSON document with all such characters as `\u….`, which means the same.
pub fn json_line(document: &str) -> Cow<'_, str> {
    if !document.chars().any(is_unsafe) {
        return Cow::Borrowed(document);
    }
    let mut out = String::with_capacity(document.len() + 16);
    for c in document.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Bytes that may be text, for people: on one line, what is no UTF-8 as `\xff`, and a backslash doubled, so that nothing is
/// taken for an escape that is none.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a [u8]);

impl<'a> Shown<'a> {
    /// A path of this machine.
    pub fn path(path: &'a Path) -> Self {
        Self(path.as_os_str().as_bytes())
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.utf8_chunks().try_for_each(|part| {
            write_escaped(f, part.valid(), |c| c == '\\' || is_unsafe(c))?;
            write!(f, "{}", part.invalid().escape_ascii())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of each kind one, with how it is shown.
    const ODD: [(&str, &str); 24] = [
        ("\u{1b}", "\\u{1b}"),
        ("\r", "\\r"),
        ("\t", "\\t"),
        ("\0", "\\u{0}"),
        ("\u{7f}", "\\u{7f}"),
        ("\u{9b}", "\\u{9b}"),
        ("\u{85}", "\\u{85}"),
        ("\u{ad}", "\\u{ad}"),
        ("\u{a0}", "\\u{a0}"),
        ("\u{34f}", "\\u{34f}"),
        ("\u{61c}", "\\u{61c}"),
        ("\u{200b}", "\\u{200b}"),
        ("\u{200d}", "\\u{200d}"),
        ("\u{200f}", "\\u{200f}"),
        ("\u{2028}", "\\u{2028}"),
        ("\u{2029}", "\\u{2029}"),
        ("\u{202e}", "\\u{202e}"),
        ("\u{2060}", "\\u{2060}"),
        ("\u{2066}", "\\u{2066}"),
        ("\u{feff}", "\\u{feff}"),
        ("\u{fff9}", "\\u{fff9}"),
        ("\u{fe0f}", "\\u{fe0f}"),
        ("\u{e0041}", "\\u{e0041}"),
        ("\u{f0000}", "\\u{f0000}"),
    ];

    #[test]
    fn what_is_more_than_text_is_escaped() {
        for (odd, shown) in ODD {
            let text = format!("a{odd}b");
            assert_eq!(one_line(&text), format!("a{shown}b"));
            assert_eq!(lines(&text), format!("a{shown}b"));
            assert_eq!(Shown(text.as_bytes()).to_string(), format!("a{shown}b"));
            // Once is enough.
            assert_eq!(one_line(&one_line(&text)), format!("a{shown}b"));
            let document = serde_json::json!({ &text: [text] }).to_string();
            let safe = json_line(&document);
            assert!(!safe.contains(is_unsafe), "{safe}");
            let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(read(&safe), read(&document));
        }
        assert_eq!((one_line("a\nb"), lines("a\nb")), ("a\\nb".into(), "a\nb".into()));
        assert_eq!(Shown(b"a\\b\xff\xc3\xa4").to_string(), "a\\\\b\\xffä");
    }

    #[test]
    fn text_stays_as_it_is() {
        for text in [
            "",
            "a b",
            "\"it's\" \\",
            "Größe",
            "e\u{301}te\u{301}",
            "日本語",
            "עברית",
            "हिन्दी",
            "ไทย",
            "🎉",
            "\u{fffd}",
        ] {
            assert_eq!(one_line(text), text);
            assert_eq!(json_line(text), text);
        }
    }
}
