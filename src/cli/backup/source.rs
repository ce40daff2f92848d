//! `NAME=DIR`: how the command line names a source.

use crate::model::PvcName;
use crate::ops::backup::Source;
use std::str::FromStr;

/// One or more `NAME=DIR`, separated by commas: a comma ends a folder only where another `NAME=` follows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::cli) struct SourceArg(pub(in crate::cli) Vec<Source>);

impl FromStr for SourceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut sources: Vec<Source> = Vec::new();
        for part in text.split(',') {
            let named = part.split_once('=').map(|(name, path)| (name.trim().parse::<PvcName>(), path));
            match (named, sources.last_mut()) {
                (Some((_, "")), _) => return Err(format!("{part:?} names no folder")),
                (Some((Ok(pvc), path)), _) => sources.push(Source { pvc, path: path.into() }),
                (_, Some(last)) => {
                    last.path.as_mut_os_string().push(",");
                    last.path.as_mut_os_string().push(part);
                }
                (Some((Err(error), _)), None) => return Err(error.to_string()),
                (None, None) => return Err("give NAME=DIR, such as html=/src/html".into()),
            }
        }
        Ok(Self(sources))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_in_one_text() {
        let parse = |text: &str| text.parse::<SourceArg>().map(|s| s.0);
        let source = |pvc: &str, path: &str| Source { pvc: pvc.parse().unwrap(), path: path.into() };
        assert_eq!(parse("html=/src/html").unwrap(), [source("html", "/src/html")]);
        assert_eq!(parse("a=/x,b=/y").unwrap(), [source("a", "/x"), source("b", "/y")]);
        assert_eq!(parse("a=/x,y,b=/z=1").unwrap(), [source("a", "/x,y"), source("b", "/z=1")]);
        for bad in ["", "/src/html", "html=", "a b=/x", ".a=/x", "a=/x,b="] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
