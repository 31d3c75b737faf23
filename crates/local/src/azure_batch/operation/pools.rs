//! Pools, their nodes and their autoscale.

use super::{Answer, Call, Reply};
use crate::azure_batch::account::pool::{Pool, Removal, Resize};
use crate::azure_batch::account::{Account, autoscale};
use crate::azure_batch::body;
use crate::azure_batch::fault::{Code, Fault};
use crate::azure_batch::list::Asked;
use crate::azure_batch::show;

impl Call<'_> {
    pub(super) fn pools(&self, path: &[&str], account: &mut Account) -> Answer {
        let now_ms = self.now_ms;
        match (self.method, path) {
            ("POST", []) => {
                let object = self.object()?;
                let id = body::id(&object)?;
                account.add_pool(object, self.version, now_ms)?;
                Ok(self.created(account.pool(&id)?.stamp, format!("{}/pools/{id}", self.base)))
            }
            ("GET", []) => {
                let pools = account.pools().map(|(key, pool)| (key.as_str(), pool));
                self.list(pools, |pool| show::pool(pool, self.base))
            }
            ("GET" | "HEAD", [id]) => {
                let pool = account.pool(id)?;
                self.object_reply(pool.stamp, || show::pool(pool, self.base))
            }
            (_, [id, "nodes", rest @ ..]) => self.nodes(id, rest, account),
            ("POST", [id, "evaluateautoscale"]) => {
                account.pool(id)?;
                let formula = autoscale::formula(&self.object()?, self.version)?;
                let run = account.evaluate_autoscale(id, &formula, now_ms)?;
                Ok(Reply::json(show::autoscale_run(&run)))
            }
            (_, [id, ..]) => {
                self.precondition(account.pool(id)?.stamp)?;
                let status = self.change_pool(id, &path[1..], account)?;
                let stamp = account.pool(id).ok().map(|pool| pool.stamp);
                Ok(Reply { stamp, ..Reply::nothing(status) })
            }
            _ => Err(Code::NotImplemented.into()),
        }
    }

    fn change_pool(&self, id: &str, verb: &[&str], account: &mut Account) -> Result<u16, Fault> {
        let now_ms = self.now_ms;
        match (self.method, verb) {
            ("PATCH", []) => account.patch_pool(id, self.object()?, now_ms).map(|()| 200),
            ("DELETE", []) => account.delete_pool(id, now_ms).map(|()| 202),
            ("POST", ["resize"]) => {
                let resize = Resize::read(&self.object()?, self.version)?;
                account.resize(id, resize, now_ms).map(|()| 202)
            }
            ("POST", ["stopresize"]) => account.stop_resize(id, now_ms).map(|()| 202),
            ("POST", ["removenodes"]) => {
                let removal = Removal::read(&self.object()?, self.version)?;
                account.remove_nodes(id, removal, now_ms).map(|()| 202)
            }
            ("POST", ["enableautoscale"]) => {
                let asked = autoscale::Asked::read(&self.object()?, self.version)?;
                account.enable_autoscale(id, asked, now_ms).map(|()| 200)
            }
            ("POST", ["disableautoscale"]) => account.disable_autoscale(id, now_ms).map(|()| 200),
            _ => Err(Code::NotImplemented.into()),
        }
    }

    fn nodes(&self, id: &str, path: &[&str], account: &Account) -> Answer {
        let pool: &Pool = account.pool(id)?;
        match (self.method, path) {
            ("GET", []) => {
                let nodes = pool.nodes.iter().map(|(id, node)| (id.as_str(), (id, node)));
                self.list(nodes, |(id, node)| show::node(id, node, pool, self.base))
            }
            ("GET", [node]) => {
                let shown = show::node(node, account.node(id, node)?, pool, self.base);
                Ok(Reply::json(Asked::read(self.query)?.selected(shown)))
            }
            _ => Err(Code::NotImplemented.into()),
        }
    }
}
