//! Advice about a failure, apart from the words that say what failed.

use crate::error::Error;
use crate::error::rule::can_be_lifted;

impl Error {
    /// Returns what the caller or the operator can do about the failure, as one line; `None` if nothing is
    /// known that helps.
    ///
    /// The text of the error mostly ends with the same advice. Here it stands alone, for programs.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotFound(refusal)
            | Self::Unauthorized(refusal)
            | Self::Denied(refusal)
            | Self::Throttled(refusal)
            | Self::Registry(refusal) => refusal.advice(),
            Self::Unreachable { advice, .. } => advice.clone(),
            Self::Credentials { .. } => {
                "correct the file, or log in again (docker login, skopeo login)".to_owned()
            }
            Self::Absent { .. } => "name one of those that it holds".to_owned(),
            Self::Platform { .. } => "choose one of the platforms that it has".to_owned(),
            Self::Size { .. } | Self::Digest { .. } => {
                "try again; if the error stays, the image has to be pushed to the registry again"
                    .to_owned()
            }
            Self::Forbidden { reason, .. } if !can_be_lifted(reason) => {
                "ask the operator of the registry why it leads there; no option allows it"
                    .to_owned()
            }
            Self::Forbidden { .. } => {
                "allow the host if it is the registry's own (Options::allow_private_realms)"
                    .to_owned()
            }
            Self::Proxy { .. } => "check the proxy and its address".to_owned(),
            _ if self.is_transient() => "try again later".to_owned(),
            Self::Io { .. } => "check that the path exists and can be read".to_owned(),
            Self::Write { .. } => "check that the directory can be written".to_owned(),
            _ => String::new(),
        };
        let hint = hint.trim_start_matches([';', ' ']).to_owned();
        if !hint.is_empty() {
            return Some(hint);
        }
        self.is_transient().then(|| "try again later".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use crate::error::rule;

    use super::*;

    #[test]
    fn hint_names_no_option_that_does_not_help() {
        let forbidden = |reason: &str| Error::Forbidden {
            url: "https://h/v2/".to_owned(),
            target: "http://169.254.169.254/".to_owned(),
            reason: reason.to_owned(),
        };
        for (reason, helps) in [
            (rule::INTERNAL.to_owned(), true),
            (rule::LOW_PORT.to_owned(), true),
            ("it carries a user name".to_owned(), false),
        ] {
            let hint = forbidden(&reason).hint().unwrap();
            assert_eq!(
                hint.contains("Options::allow_private_realms"),
                helps,
                "{reason}"
            );
        }
    }

    #[test]
    fn hint_is_the_advice_without_its_semicolon() {
        let unreachable = |advice: &str| Error::Unreachable {
            url: "https://h/v2/".to_owned(),
            redirected_from: None,
            reason: "no such host".to_owned(),
            advice: advice.to_owned(),
            attempts: 1,
        };
        for (error, hint) in [
            (unreachable("; check the name"), Some("check the name")),
            (unreachable(""), Some("try again later")),
            (Error::Usage("no".to_owned()), None),
        ] {
            assert_eq!(error.hint().as_deref(), hint, "{error}");
        }
    }
}
