//! What `handler --doctor` is asked to look at.

use std::path::PathBuf;

use url::Url;

/// How it is called.
pub const USAGE: &str =
    "handler --doctor --json [--before-deploy] [--url URL] [--usages FILE]… [--vm-size SIZE]";

/// What is looked at besides settings and services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Only what needs no service.
    pub before_deploy: bool,
    /// The app that serves.
    pub url: Option<Url>,
    /// Saved output of `az` with quotas.
    pub usages: Vec<PathBuf>,
    /// Size of the machines of pools that cannot be asked.
    pub vm_size: Option<String>,
}

impl Asked {
    /// The arguments behind `--doctor`.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(arguments: &[&str]) -> Result<Asked, String> {
        let mut asked = Asked::default();
        let mut is_json = false;
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().copied().ok_or_else(|| format!("{argument} needs a value"));
            match *argument {
                "--json" => is_json = true,
                "--before-deploy" => asked.before_deploy = true,
                "--url" => {
                    let text = value()?;
                    let url = Url::parse(text)
                        .ok()
                        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
                    asked.url = Some(url.ok_or_else(|| format!("--url `{text}` is no http(s) URL"))?);
                }
                "--usages" => asked.usages.push(value()?.into()),
                "--vm-size" => asked.vm_size = Some(value()?.to_owned()),
                other => return Err(format!("`{other}` is not known")),
            }
        }
        if is_json {
            Ok(asked)
        } else {
            Err("--json is missing: `switchyard doctor` shows it to people".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_in_any_order_and_wrong_ones_are_named() {
        let asked =
            Asked::parse(&["--url", "http://127.0.0.1:1", "--json", "--usages", "a", "--usages", "b"])
                .unwrap();
        assert_eq!(asked.usages, [PathBuf::from("a"), PathBuf::from("b")]);
        assert_eq!(asked.url.map(String::from).as_deref(), Some("http://127.0.0.1:1/"));
        for (wrong, names) in [
            (vec![], "--json"),
            (vec!["--json", "--url"], "needs a value"),
            (vec!["--json", "--url", "file:///etc"], "file:///etc"),
            (vec!["--json", "--fix"], "--fix"),
        ] {
            assert!(Asked::parse(&wrong).unwrap_err().contains(names), "{wrong:?}");
        }
    }
}
