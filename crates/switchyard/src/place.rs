//! Where things lie: programs, sources, state and model. Built once from the environment.

use std::ffi::OsString;
use std::path::PathBuf;

use clock::Clock;
use local::cargo::{self, Programs, Source};
use local::model::{self, Fetch};

use crate::Failure;
use crate::client::Key;
use crate::print::Printer;

/// Names a folder that is used as the model.
const MODEL_DIR: &str = "SWITCHYARD_MODEL_DIR";
/// Address of the deployment that commands ask.
const URL: &str = "SWITCHYARD_URL";
/// Its key.
const API_KEY: &str = "SWITCHYARD_API_KEY";
/// An operator's key of it.
const ADMIN_KEY: &str = "SWITCHYARD_ADMIN_KEY";
/// State, keys and the fetched model of a working copy.
const STATE_FOLDER: &str = ".switchyard";

/// What the environment says.
pub struct Place {
    source: Source,
    model: Option<PathBuf>,
    url: Option<String>,
    key: Option<Key>,
    admin_key: Option<Key>,
    clock: Clock,
    environment: Vec<(String, String)>,
}

impl Place {
    /// Reads the settings through `setting`; `environment` is what an app under the host sees.
    ///
    /// # Errors
    /// When the clock's settings are wrong.
    pub fn find(
        setting: impl Fn(&str) -> Option<OsString>,
        environment: Vec<(String, String)>,
    ) -> Result<Place, Failure> {
        let text = |name: &str| setting(name).and_then(|value| value.into_string().ok());
        let given = |name: &str| text(name).filter(|value| !value.is_empty());
        Ok(Place {
            source: Source::find(&setting),
            model: setting(MODEL_DIR).filter(|value| !value.is_empty()).map(PathBuf::from),
            url: given(URL),
            key: given(API_KEY).map(Key::new),
            admin_key: given(ADMIN_KEY).map(Key::new),
            clock: Clock::from_settings(text).map_err(Failure::of)?,
            environment,
        })
    }

    /// The clock of everything that is started.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The address that the settings name.
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// The API key that the settings name.
    pub fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// The operator's key that the settings name.
    pub fn admin_key(&self) -> Option<&Key> {
        self.admin_key.as_ref()
    }

    /// The environment of this process.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// Settings that a catalogue may name, keys of backends and secrets of webhooks: their names end as it
    /// demands. This command's own key is none of them.
    pub fn catalogue_secrets(&self) -> Vec<(String, String)> {
        let ends = |name: &str| ["_API_KEY", "_WEBHOOK_SECRET"].iter().any(|end| name.ends_with(end));
        let is_secret = |name: &str| ends(name) && name != API_KEY;
        self.environment.iter().filter(|(name, _)| is_secret(name)).cloned().collect()
    }

    /// The folder with `host.json` and `functions/`: the working copy that this program was built
    /// from, or the current folder.
    pub fn root(&self) -> PathBuf {
        let root = cargo::workspace_root();
        if root.join("host.json").is_file() { root } else { PathBuf::from(".") }
    }

    /// Where state is kept unless `--state` says otherwise.
    pub fn state(&self) -> PathBuf {
        self.root().join(STATE_FOLDER)
    }

    /// The handler and the server, built if they may be.
    pub(crate) async fn programs(&self, no_build: bool, printer: &Printer) -> Result<Programs, Failure> {
        self.source(no_build, "the programs", printer).programs().await.map_err(Failure::of)
    }

    /// The handler as it is sent to Azure.
    pub(crate) async fn static_handler(&self, no_build: bool, printer: &Printer) -> Result<PathBuf, Failure> {
        self.source(no_build, "a static handler", printer).static_handler().await.map_err(Failure::of)
    }

    fn source(&self, no_build: bool, what: &str, printer: &Printer) -> Source {
        let source = if no_build { Source::find(|_| None) } else { self.source.clone() };
        if matches!(source, Source::Cargo { .. }) {
            printer.progress(&format!("building {what} (minutes the first time, then a moment)"));
        }
        source
    }

    /// The model's folder: the one that was named, else MiniLM, fetched if need be.
    pub(crate) async fn model(&self, named: Option<PathBuf>, printer: &Printer) -> Result<PathBuf, Failure> {
        if let Some(folder) = named.or_else(|| self.model.clone()) {
            return model::given(folder).map_err(Failure::of);
        }
        let fetch = Fetch::minilm(self.state().join("model"));
        fetch.run(&|line| printer.progress(line)).await.map_err(Failure::of)
    }
}
