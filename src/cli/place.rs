//! Places that a command line names: what looks like one on another machine, or like something that a shell should have
//! put in, is no directory that anybody meant.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Whether a path can be a local one that somebody meant; if not, what is wrong with it and what helps.
///
/// # Errors
/// A sentence without its subject.
pub(super) fn check(path: &Path) -> Result<(), String> {
    let bytes = path.as_os_str().as_bytes();
    let text = path.to_string_lossy();
    let is_blank = |c: char| c.is_whitespace() || c.is_control();
    if bytes.is_empty() {
        return Err("is empty; give a directory".to_owned());
    }
    if text.starts_with(is_blank) || text.ends_with(is_blank) {
        return Err("begins or ends with a blank or a line break, as a mistake in quoting leaves it; \
                    give the directory without it"
            .to_owned());
    }
    if text.contains(char::is_control) {
        return Err("has control characters in it; give a directory without".to_owned());
    }
    let first = text.split('/').next().unwrap_or_default();
    let is_scheme = |s: &str| s.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c));
    if let Some((scheme, _)) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) {
        return Err(format!(
            "looks like a URL: stores by {scheme}:// are not supported yet; give a directory, mounted here"
        ));
    }
    if first.contains(':') {
        return Err(format!(
            "looks like a place on another machine, which would have to be mounted: give the directory where it is; \
             a directory of that name is ./{text}"
        ));
    }
    if text.starts_with("\\\\") {
        return Err(
            "looks like a share of Windows, which would have to be mounted: give the directory where it is"
                .to_owned(),
        );
    }
    if text.starts_with(['\'', '"']) {
        return Err(format!(
            "begins with a quotation mark, which no shell has taken away; a directory of that name is ./{text}"
        ));
    }
    if text.starts_with(['~', '$', '%']) || ["$(", "${", "{{"].iter().any(|sign| text.contains(sign)) {
        let way_out = if path.is_absolute() || text.starts_with("./") {
            "write the directory out, or rename it".to_owned()
        } else {
            format!("write the directory out; a directory of that name is ./{text}")
        };
        return Err(format!("has a part that nobody has filled in ('~' or a variable): {way_out}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_remote_or_unexpanded_is_refused() {
        for (path, why) in [
            ("user@nas:/volume1/backup", "another machine"),
            ("nas:backup", "another machine"),
            ("[fe80::1]:/backup", "another machine"),
            ("s3:bucket", "a directory of that name is ./s3:bucket"),
            ("rclone:remote:path", "another machine"),
            ("rest:http://host:8000/", "another machine"),
            ("sftp:user@host:/srv/repo", "another machine"),
            ("s3://bucket/x", "s3:// are not supported yet"),
            ("file:///srv/vault", "file:// are not supported yet"),
            ("\\\\nas\\share", "Windows"),
            ("~/vault", "'~' or a variable"),
            ("~", "'~' or a variable"),
            ("$HOME/vault", "'~' or a variable"),
            ("/backup/$(POD)", "'~' or a variable"),
            ("/backup/${POD}", "'~' or a variable"),
            ("/backup/{{ .Values.store }}", "'~' or a variable"),
            ("'/backup'", "quotation mark"),
            ("\"/backup\"", "quotation mark"),
            ("/backup\n", "blank or a line break"),
            (" /backup", "blank or a line break"),
            ("/backup ", "blank or a line break"),
            ("/backup\u{a0}", "blank or a line break"),
            ("/back\tup", "control characters"),
            ("/back\u{9b}up", "control characters"),
            ("", "is empty"),
        ] {
            let error = check(Path::new(path)).expect_err(path);
            assert!(error.contains(why), "{path:?}: {error}");
        }
        for path in [
            "/backup",
            "./s3:bucket",
            "../a:b",
            "/mnt/nas:backup",
            "backup/a:b",
            "/a b",
            "a~",
            "./~",
            "./$x",
            "/data/x$y",
            "ä",
            ".",
            "/",
        ] {
            assert_eq!(check(Path::new(path)), Ok(()), "{path:?}");
        }
    }
}
