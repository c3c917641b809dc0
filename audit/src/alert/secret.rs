//! What must not be seen: the token in a webhook's address, signing secrets, passwords. None of them is ever printed.

use std::fmt;

use zeroize::Zeroizing;

/// Shortest part of an address that is worth hiding where it is repeated to us; shorter ones are words such as `v2`.
const PART_CHARS_MIN: usize = 6;
/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// A secret; wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a secret.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// The address of a webhook. Path and query may hold a token: shown are scheme, host and port only.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Secret);

impl SecretUrl {
    /// Checks that it is an address one can post to.
    ///
    /// # Errors
    /// Says what is wrong without repeating the address.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: http::Uri = text.parse().map_err(|_| "is no address; write https://host/path".to_owned())?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err("must begin with https:// (or http://)".into());
        }
        match uri.authority() {
            None => Err("names no host".into()),
            Some(authority) if authority.as_str().contains('@') => {
                Err("holds a user name or password before the host; use the path, a header or a signature instead".into())
            }
            Some(_) => Ok(Self(Secret::new(text.to_owned()))),
        }
    }

    /// The address with `more` added to its query.
    pub(crate) fn with_query(&self, more: &str) -> Result<http::Uri, http::uri::InvalidUri> {
        let text = self.0.reveal();
        let joint = match (more.is_empty(), text.contains('?')) {
            (true, _) => "",
            (false, true) => "&",
            (false, false) => "?",
        };
        Zeroizing::new(format!("{text}{joint}{more}")).parse()
    }

    /// Whether messages go over TLS.
    pub fn is_tls(&self) -> bool {
        self.0.reveal().starts_with("https:") || self.0.reveal().starts_with("HTTPS:")
    }

    fn parts(&self) -> impl Iterator<Item = &str> {
        let path = self.0.reveal().splitn(4, '/').nth(3).unwrap_or_default();
        path.split(['/', '?', '&', '=']).filter(|part| part.len() >= PART_CHARS_MIN)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.reveal();
        let end = text.match_indices('/').nth(2).map_or(text.len(), |(at, _)| at);
        write!(f, "{}/{HIDDEN}", text[..end].split('?').next().unwrap_or_default())
    }
}

/// Takes out of a text whatever it repeats of the secrets, and what could steer a terminal; at most `chars_max` characters.
pub(crate) fn redact(text: &str, url: Option<&SecretUrl>, secrets: &[&Secret], chars_max: usize) -> String {
    let mut clean: String = text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    let parts = url.into_iter().flat_map(SecretUrl::parts);
    let mut hidden: Vec<&str> = parts.chain(secrets.iter().map(|secret| secret.reveal())).filter(|part| !part.is_empty()).collect();
    hidden.sort_by_key(|part| std::cmp::Reverse(part.len()));
    for part in hidden {
        clean = clean.replace(part, HIDDEN);
    }
    clean.chars().take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_tokens_nor_passwords_are_shown() {
        let url = SecretUrl::parse("https://hooks.example.com:8443/services/T0001/tokentoken?key=abcdefgh").unwrap();
        assert_eq!(format!("{url:?}"), "https://hooks.example.com:8443/***");
        let bare = SecretUrl::parse("https://a.example?key=abcdefgh").unwrap();
        assert_eq!(format!("{bare:?}"), "https://a.example/***");
        assert_eq!(format!("{:?}", Secret::new("pw".into())), "***");
        let said = redact("no tokentoken\u{1b}[2J abcdefgh and pass-word", Some(&url), &[&Secret::new("pass-word".into())], 100);
        assert_eq!(said, "no *** [2J *** and ***");
        assert_eq!(redact("xxxxx", None, &[], 3), "xxx");
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for bad in ["", "hooks.example.com/token", "ftp://a/token", "https:///token", "https://user:token@a/", "https://a b/token"] {
            let error = SecretUrl::parse(bad).unwrap_err();
            assert!(!error.contains("token"), "{error}");
        }
    }

    #[test]
    fn a_query_is_added_to_what_is_there() {
        let of = |url: &str, more: &str| SecretUrl::parse(url).unwrap().with_query(more).unwrap().to_string();
        assert_eq!(of("http://a/x?t=1", "s=2"), "http://a/x?t=1&s=2");
        assert_eq!(of("http://a/x", "s=2"), "http://a/x?s=2");
        assert_eq!(of("http://a/x", ""), "http://a/x");
    }
}
