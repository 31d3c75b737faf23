//! What the nodes of a pool are made of. Asked apart from the pool itself, which is looked at every half
//! minute: machines never change.

use reqwest::Method;
use serde::Deserialize;

use super::call::Call;
use super::client::{Client, checked};
use super::pool::PoolError;

/// A pool's machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// As `standard_nc4as_t4_v3`; the service tells it in any case.
    pub size: String,
    /// What they start from; none: the pool is not made of virtual machines of the marketplace or a gallery.
    pub image: Option<Image>,
    /// As `batch.node.ubuntu 24.04`.
    pub agent: String,
    /// What the platform installs beside the image.
    pub extensions: Vec<Extension>,
    /// The kind of containers that tasks run in; none: they run as processes.
    pub containers: Option<String>,
}

/// What the platform installs on each node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Extension {
    /// As `Microsoft.HpcCompute`.
    pub publisher: String,
    /// As `NvidiaGpuDriverLinux`.
    #[serde(rename = "type")]
    pub kind: String,
    /// As `1.14`.
    pub type_handler_version: Option<String>,
}

/// What a machine starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Image {
    /// As `microsoft-dsvm`.
    pub publisher: String,
    /// As `ubuntu-hpc`.
    pub offer: String,
    /// As `2404`.
    pub sku: String,
    /// An image of a gallery instead, by its id.
    pub virtual_machine_image_id: Option<String>,
}

impl Client {
    /// Looks at a pool's machines.
    ///
    /// # Errors
    /// When there is no such pool, or the call failed.
    pub async fn machine(&self, pool: &str) -> Result<Machine, PoolError> {
        let path = format!("/pools/{}", checked("pool", pool)?);
        let url = self.url(&path, "&$select=id,vmSize,virtualMachineConfiguration");
        match self.send(Call::new("get pool", Method::GET, url, 200)).await {
            Ok(answer) => Ok(answer.decode::<Body>()?.into()),
            Err(error) if error.is_one_of(&["PoolNotFound"]) => Err(PoolError::NotFound),
            Err(error) => Err(error.into()),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(default)]
    vm_size: String,
    virtual_machine_configuration: Option<Configuration>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    image_reference: Option<Image>,
    #[serde(default, rename = "nodeAgentSKUId")]
    agent: String,
    #[serde(default)]
    extensions: Vec<Extension>,
    container_configuration: Option<Containers>,
}

#[derive(Deserialize)]
struct Containers {
    #[serde(default, rename = "type")]
    kind: String,
}

impl From<Body> for Machine {
    fn from(body: Body) -> Machine {
        let machine = body.virtual_machine_configuration.unwrap_or_default();
        Machine {
            size: body.vm_size,
            image: machine.image_reference,
            agent: machine.agent,
            extensions: machine.extensions,
            containers: machine.container_configuration.map(|containers| containers.kind),
        }
    }
}
