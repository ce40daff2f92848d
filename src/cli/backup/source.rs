//! `NAME=DIR`: how the command line names a source.

use crate::model::PvcName;
use crate::ops::backup::Source;
use clap::builder::{OsStringValueParser, TypedValueParser, ValueParser, ValueParserFactory};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// One or more `NAME=DIR`, separated by commas: a comma ends a folder only where another `NAME=` follows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::cli) struct SourceArg(pub(in crate::cli) Vec<Source>);

impl SourceArg {
    /// A folder's name need not be UTF-8.
    fn parse(text: &OsStr) -> Result<Self, String> {
        let mut sources: Vec<Source> = Vec::new();
        for part in text.as_bytes().split(|&byte| byte == b',') {
            let folder = |from: usize| PathBuf::from(OsStr::from_bytes(part.get(from..).unwrap_or_default()));
            let named = part.iter().position(|&byte| byte == b'=').map(|at| {
                let name = String::from_utf8_lossy(part.get(..at).unwrap_or_default());
                (name.trim().parse::<PvcName>(), folder(at + 1))
            });
            match (named, sources.last_mut()) {
                (Some((_, path)), _) if path.as_os_str().is_empty() => {
                    return Err(format!("{:?} names no folder", String::from_utf8_lossy(part)));
                }
                (Some((Ok(pvc), path)), _) => sources.push(Source { pvc, path }),
                (_, Some(last)) => {
                    last.path.as_mut_os_string().push(",");
                    last.path.as_mut_os_string().push(OsStr::from_bytes(part));
                }
                (Some((Err(error), _)), None) => return Err(error.to_string()),
                (None, None) => return Err("give NAME=DIR, such as html=/src/html".into()),
            }
        }
        Ok(Self(sources))
    }
}

impl ValueParserFactory for SourceArg {
    type Parser = ValueParser;

    fn value_parser() -> Self::Parser {
        ValueParser::new(OsStringValueParser::new().try_map(|text| Self::parse(&text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_in_one_text() {
        let parse = |text: &str| SourceArg::parse(OsStr::new(text)).map(|s| s.0);
        let source = |pvc: &str, path: &str| Source { pvc: pvc.parse().unwrap(), path: path.into() };
        assert_eq!(parse("html=/src/html").unwrap(), [source("html", "/src/html")]);
        assert_eq!(parse("a=/x,b=/y").unwrap(), [source("a", "/x"), source("b", "/y")]);
        assert_eq!(parse("a=/x,y,b=/z=1").unwrap(), [source("a", "/x,y"), source("b", "/z=1")]);
        let raw = SourceArg::parse(OsStr::from_bytes(b"a=/b\xe4r,\xe4,b=/z")).unwrap().0;
        let names: Vec<&[u8]> = raw.iter().map(|s| s.path.as_os_str().as_bytes()).collect();
        assert_eq!(names, [&b"/b\xe4r,\xe4"[..], b"/z"]);
        assert!(SourceArg::parse(OsStr::from_bytes(b"\xe4=/x")).is_err());
        for bad in ["", "/src/html", "html=", "a b=/x", ".a=/x", "a=/x,b="] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
