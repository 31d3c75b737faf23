//! The catalogue: read from where the handler reads it, and judged as a whole.

use facts::{Store, StoreError, key};
use wire::catalogue as file;
use wire::doctor::Finding;

use super::account::Wanted;
use super::check::Check;
use super::within;
use crate::catalogue::{self, Catalogue, Context};
use crate::settings::{Settings, name};

/// What could be read.
#[derive(Debug)]
pub struct Read {
    /// One for each problem, or one that says how much there is.
    pub findings: Vec<Finding>,
    /// As it was checked, and as the file has it.
    pub catalogue: Option<(Catalogue, file::Catalogue)>,
}

impl Read {
    /// Nothing, because of something else.
    pub fn needs(what: &str) -> Read {
        Read { findings: vec![Check::Catalogue.needs(what)], catalogue: None }
    }

    /// Pools that work is sent to. Without a catalogue, the pool of the settings.
    ///
    /// # Errors
    /// What is missing.
    pub fn pools(&self, settings: &Settings) -> Result<Vec<Wanted>, &'static str> {
        if let Some((catalogue, _)) = &self.catalogue {
            let wanted = catalogue.pools.iter().map(|pool| Wanted {
                name: pool.facts.name.clone(),
                slots: pool.facts.slots_per_node,
                worker: pool.worker.clone(),
            });
            return Ok(wanted.collect());
        }
        let named = settings.default_pool.as_ref();
        let named = named.map(|name| vec![Wanted { name: name.clone(), slots: 1, worker: None }]);
        named.ok_or("catalogue")
    }
}

/// Reads the file that settings name, or the store's object.
pub async fn read(settings: &Settings, store: Option<&Store>) -> Read {
    let (from, text) = match (&settings.catalogue_file, store) {
        (Some(path), _) => {
            let told = |error| format!("{} cannot be read: {error}", name::MODEL_CATALOG);
            (path.display().to_string(), tokio::fs::read(path).await.map_err(told))
        }
        (None, None) => return Read::needs("blob"),
        (None, Some(store)) => match within(store.get(key::CATALOGUE)).await {
            Some(Ok(object)) => (key::CATALOGUE.to_owned(), Ok(object.content.to_vec())),
            Some(Err(StoreError::NotFound(_))) => {
                let found = format!("`{}` is not in the store: nobody is let in without it", key::CATALOGUE);
                let remedy = "write one (docs/operations.md) and put it there: az storage blob upload --file catalogue.json --name \
                              config/catalogue.json --container-name switchyard --account-name ACCOUNT --auth-mode login";
                return Read { findings: vec![Check::Catalogue.broken(found, remedy)], catalogue: None };
            }
            Some(Err(_)) | None => return Read::needs("blob"),
        },
    };
    match text {
        Ok(text) => judge(&from, &text, &context(settings)),
        Err(told) => {
            let remedy = format!("correct {}, or unset it to read the store's", name::MODEL_CATALOG);
            Read { findings: vec![Check::Catalogue.broken(told, remedy)], catalogue: None }
        }
    }
}

fn context(settings: &Settings) -> Context {
    Context {
        default_backend: settings.default_backend.clone(),
        default_pool: settings.default_pool.clone(),
        has_batch: settings.batch.is_some(),
        secrets: settings.secrets.clone(),
        loopback_only: settings.clock.is_scaled(),
        webhooks_allow_private: settings.webhooks_allow_private,
    }
}

fn judge(from: &str, text: &[u8], context: &Context) -> Read {
    let catalogue = match catalogue::parse(text, context) {
        Ok(catalogue) => catalogue,
        Err(problems) => {
            let remedy = format!(
                "correct {from}; until then the last good one stays in force, and a new process has none"
            );
            let told = problems.into_iter().map(|problem| Check::Catalogue.broken(problem, remedy.clone()));
            return Read { findings: told.collect(), catalogue: None };
        }
    };
    let count = format!(
        "{from}: {} models, {} backends, {} pools, {} tenants",
        catalogue.models.len(),
        catalogue.backends.len(),
        catalogue.pools.len(),
        catalogue.tenants.len()
    );
    let undated = catalogue.backends.iter().map(|backend| (&backend.name, &backend.price_date));
    let undated = undated.chain(catalogue.pools.iter().map(|pool| (&pool.facts.name, &pool.price_date)));
    let guessed =
        undated.into_iter().find(|(_, date)| date.as_str() == "unknown").map(|(name, _)| name.clone());
    let finding = match guessed {
        _ if catalogue.models.is_empty() => Check::Catalogue
            .warning(format!("{count}: nothing can be asked for"), format!("add models to {from}")),
        _ if catalogue.tenants.is_empty() => Check::Catalogue
            .warning(format!("{count}: nobody is let in"), "switchyard tenant add NAME, which prints a key"),
        Some(name) => Check::Catalogue.warning(
            format!("{count}; prices and speed of `{name}`, which settings name, are guesses"),
            format!("give it an entry of its own in {from}"),
        ),
        None => Check::Catalogue.ok(count),
    };
    let file = serde_json::from_slice(text).expect("what was checked is of the file's shape");
    Read { findings: vec![finding], catalogue: Some((catalogue, file)) }
}
