//! Who wrote a webhook: enters the raw body (or the URL and the form), a header and the active secrets; leaves yes or no.
//!
//! What is easily got wrong: Meta signs the bytes as they came (non-ASCII as `\u00e4`), so nothing may be re-serialised before; Twilio signs the URL as *it*
//! saw it. All comparisons take the same time whatever differs, and every active secret is tried whether or not one has fitted already.

use crate::privacy::Secret;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeSet;
use zeroize::Zeroizing;

/// The active app secrets of one Meta app.
pub struct Meta(Vec<hmac::Key>);

impl Meta {
    /// With every secret that is active while one replaces another. Without any, nothing verifies.
    pub fn new(secrets: &[Secret<String>]) -> Self {
        Self(secrets.iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes())).collect())
    }

    /// Whether `header`, the value of the only `X-Hub-Signature-256`, is `sha256=` and the HMAC-SHA256 of the raw `body` in 64 hex digits.
    pub fn verify(&self, header: &str, body: &[u8]) -> bool {
        let Some(tag) = header.strip_prefix("sha256=").and_then(|digits| hex::decode(digits).ok()) else { return false };
        any(&self.0, body, &tag)
    }
}

/// The active tokens of one Twilio account, for both kinds of signature.
pub struct Twilio {
    tokens: Vec<hmac::Key>,
    shared_keys: Vec<hmac::Key>,
}

/// What Twilio sent beside the form.
#[derive(Clone, Copy)]
pub struct TwilioHeaders<'a> {
    /// The value of the only `X-Twilio-Signature`.
    pub signature: &'a str,
    /// The value of `X-Twilio-Webhooks-Signature-Settings`: `key=…,algorithm=HMAC_SHA256`; absent means SHA-1 with the auth token.
    pub settings: Option<&'a str>,
}

/// The algorithms of `X-Twilio-Webhooks-Signature-Settings`. Source: PyPI `twilio` 9.13, `request_validator.py`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Sha1,
    Sha256,
}

impl Twilio {
    /// `tokens`: auth tokens (SHA-1), primary and the one that replaces it. `shared_keys`: the secrets of shared keys (SHA-256). Without any, nothing
    /// verifies.
    pub fn new(tokens: &[Secret<String>], shared_keys: &[Secret<String>]) -> Self {
        let keys = |algorithm, secrets: &[Secret<String>]| secrets.iter().map(|secret| hmac::Key::new(algorithm, secret.expose().as_bytes())).collect();
        Self { tokens: keys(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, tokens), shared_keys: keys(hmac::HMAC_SHA256, shared_keys) }
    }

    /// Whether Twilio signed this form for this URL.
    ///
    /// - `url`: `public_base_url` and the path and query as they came; never built from `Host`, which the caller chooses.
    /// - `fragment`: what we put behind `#` when we gave the URL out. It is not documented whether it is signed: both readings are tried, as is the URL
    ///   with and without its port (Twilio does both).
    /// - `form`: names and values, decoded; an equal value of a name counts once.
    pub fn verify(&self, headers: TwilioHeaders<'_>, url: &str, fragment: &str, form: &[(Zeroizing<String>, Zeroizing<String>)]) -> bool {
        let Some(algorithm) = algorithm(headers.settings) else { return false };
        let Ok(tag) = STANDARD.decode(headers.signature) else { return false };
        let keys = match algorithm {
            Algorithm::Sha1 => &self.tokens,
            Algorithm::Sha256 => &self.shared_keys,
        };
        let sorted: BTreeSet<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let length = sorted.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        let mut verified = false;
        for address in [Some(url.to_owned()), other_port(url)].into_iter().flatten() {
            for fragment in ["", fragment] {
                let mut signed = Zeroizing::new(Vec::with_capacity(address.len() + fragment.len() + length));
                signed.extend_from_slice(address.as_bytes());
                signed.extend_from_slice(fragment.as_bytes());
                for (name, value) in &sorted {
                    signed.extend_from_slice(name.as_bytes());
                    signed.extend_from_slice(value.as_bytes());
                }
                verified |= any(keys, &signed, &tag);
            }
        }
        verified
    }
}

/// `None` for an algorithm that we do not know: refused, never guessed.
fn algorithm(settings: Option<&str>) -> Option<Algorithm> {
    let named = settings.unwrap_or("").split(',').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        (name.trim() == "algorithm" && !value.trim().is_empty()).then(|| value.trim().to_ascii_uppercase())
    });
    match named.as_deref() {
        None | Some("HMAC_SHA1") => Some(Algorithm::Sha1),
        Some("HMAC_SHA256") => Some(Algorithm::Sha256),
        Some(_) => None,
    }
}

/// The same URL with its scheme's own port written out, or without its port where it had one.
fn other_port(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let port = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
    match authority.rsplit_once(':') {
        Some((host, digits)) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(format!("{scheme}://{host}{tail}")),
        _ => Some(format!("{scheme}://{authority}:{port}{tail}")),
    }
}

fn any(keys: &[hmac::Key], message: &[u8], tag: &[u8]) -> bool {
    keys.iter().fold(false, |verified, key| verified | hmac::verify(key, message, tag).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    fn form(pairs: &[(&str, &str)]) -> Vec<(Zeroizing<String>, Zeroizing<String>)> {
        pairs.iter().map(|(name, value)| (Zeroizing::new((*name).to_owned()), Zeroizing::new((*value).to_owned()))).collect()
    }

    /// The inputs of twilio-python's documented test; its numbers are fiction (area code 415, 1-800-555).
    const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";
    const FORM: [(&str, &str); 5] =
        [("CallSid", "CA1234567890ABCDE"), ("Digits", "1234"), ("From", "+14158675309"), ("To", "+18005551212"), ("Caller", "+14158675309")];
    const VECTOR: TwilioHeaders<'static> = TwilioHeaders { signature: "RSOYDt4T1cUTdK1PDd93/VVr8B8=", settings: None };

    #[test]
    fn twilios_documented_signature_verifies_and_any_change_does_not() {
        let twilio = Twilio::new(&[secret("12345")], &[]);
        assert!(twilio.verify(VECTOR, URL, "", &form(&FORM)));
        assert!(twilio.verify(VECTOR, URL, "#rc=5", &form(&FORM)), "signed without the fragment");
        assert!(twilio.verify(VECTOR, "https://mycompany.com:443/myapp.php?foo=1&bar=2", "", &form(&FORM)), "signed without the port");
        let mut twice = FORM.to_vec();
        twice.push(FORM[1]);
        assert!(twilio.verify(VECTOR, URL, "", &form(&twice)), "an equal value of a name counts once");
        let mut tampered = FORM;
        tampered[1] = ("Digits", "1235");
        assert!(!twilio.verify(VECTOR, URL, "", &form(&tampered)));
        assert!(!twilio.verify(VECTOR, "https://mycompany.com/myapp.php?foo=1&bar=3", "", &form(&FORM)));
        assert!(!Twilio::new(&[secret("12346")], &[]).verify(VECTOR, URL, "", &form(&FORM)));
        assert!(!Twilio::new(&[], &[]).verify(VECTOR, URL, "", &form(&FORM)));
        assert!(Twilio::new(&[secret("new"), secret("12345")], &[]).verify(VECTOR, URL, "", &form(&FORM)), "both tokens count while rotating");
    }

    #[test]
    fn the_settings_header_chooses_the_algorithm_and_an_unknown_one_is_refused() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"12345");
        let message = format!("{URL}#rc=5CallSidCA1234567890ABCDE");
        let signature = STANDARD.encode(hmac::sign(&key, message.as_bytes()).as_ref());
        let twilio = Twilio::new(&[secret("12345")], &[secret("12345")]);
        let form = form(&FORM[..1]);
        let with = |settings| TwilioHeaders { signature: &signature, settings };
        assert!(twilio.verify(with(Some("key=sk_1, algorithm=HMAC_SHA256")), URL, "#rc=5", &form), "signed with the fragment");
        assert!(!twilio.verify(with(Some("key=sk_1,algorithm=HMAC_SHA512")), URL, "#rc=5", &form));
        assert!(!twilio.verify(with(None), URL, "#rc=5", &form), "no header means SHA-1");
        assert!(!Twilio::new(&[secret("12345")], &[]).verify(with(Some("algorithm=HMAC_SHA256")), URL, "#rc=5", &form), "an auth token is no shared key");
    }

    #[test]
    fn the_port_is_added_and_removed_and_nothing_else_changes() {
        assert_eq!(other_port("https://a.example/x?y=1:2").as_deref(), Some("https://a.example:443/x?y=1:2"));
        assert_eq!(other_port("http://a.example").as_deref(), Some("http://a.example:80"));
        assert_eq!(other_port("https://a.example:8443/x").as_deref(), Some("https://a.example/x"));
        assert_eq!(other_port("https://[::1]/x").as_deref(), Some("https://[::1]:443/x"));
        assert_eq!(other_port("no url"), None);
    }

    #[test]
    fn meta_signs_the_raw_bytes_with_any_active_secret() {
        // RFC 4231, test case 2.
        let header = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let body = b"what do ya want for nothing?";
        assert!(Meta::new(&[secret("Jefe")]).verify(header, body));
        assert!(Meta::new(&[secret("newer"), secret("Jefe")]).verify(header, body));
        assert!(!Meta::new(&[secret("Jefe")]).verify(header, b"what do ya want for nothing!"));
        assert!(!Meta::new(&[secret("other")]).verify(header, body));
        assert!(!Meta::new(&[]).verify(header, body));
        for bad in ["", "sha256=", "sha256=5bdcc146", &header[7..], "sha1=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"] {
            assert!(!Meta::new(&[secret("Jefe")]).verify(bad, body), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_header_or_url_makes_it_panic_or_verify(signature in ".{0,80}", settings in proptest::option::of(".{0,80}"), url in ".{0,80}", body in ".{0,80}") {
            let headers = TwilioHeaders { signature: &signature, settings: settings.as_deref() };
            prop_assert!(!Twilio::new(&[secret("t")], &[secret("s")]).verify(headers, &url, "#rc=5", &form(&[("a", &body)])));
            prop_assert!(!Meta::new(&[secret("t")]).verify(&signature, body.as_bytes()));
        }
    }
}
