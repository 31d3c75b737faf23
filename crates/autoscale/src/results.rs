//! What a formula set: the targets, the option and its variables, and the service's string of them.

use std::collections::BTreeMap;
use std::fmt;

use crate::tree::{Spelling, Variable};
use crate::{Deallocation, Targets, Value, World};

/// The most nodes that a target can say: the service's counts are 32-bit integers.
const TARGET_MAX: f64 = i32::MAX as f64;

/// The outcome of an evaluation. Prints as the service's results string.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    /// What the pool has, which stays where the evaluation failed.
    before: (Targets, Deallocation),
    failed: bool,
    assigned: BTreeMap<Variable, Value>,
}

impl Results {
    pub(crate) fn new(world: &World<'_>) -> Results {
        Results { before: (world.targets, world.deallocation), failed: false, assigned: BTreeMap::new() }
    }

    pub(crate) fn assign(&mut self, to: Variable, value: Value) {
        self.assigned.insert(to, value);
    }

    /// Marks that the evaluation failed: the service keeps the targets and shows no variables.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
    }

    /// The value of a variable as a formula reads it: assigned under this or the other name, or
    /// what the pool has.
    pub(crate) fn read(&self, variable: &Variable) -> Option<Value> {
        use Variable::{Dedicated, LowPriority};
        let (targets, deallocation) = self.before;
        let (full, alias, current) = match variable {
            Dedicated(_) => (Dedicated(Spelling::Full), Dedicated(Spelling::Alias), targets.dedicated),
            LowPriority(_) => {
                (LowPriority(Spelling::Full), LowPriority(Spelling::Alias), targets.low_priority)
            }
            Variable::Deallocation => {
                let assigned = self.assigned.get(variable).cloned();
                return Some(assigned.unwrap_or(Value::Deallocation(deallocation)));
            }
            Variable::User(_) => return self.assigned.get(variable).cloned(),
        };
        let assigned = self.assigned.get(variable).or_else(|| self.assigned.get(&full));
        let assigned = assigned.or_else(|| self.assigned.get(&alias)).cloned();
        Some(assigned.unwrap_or(Value::Double(f64::from(current))))
    }

    /// The dedicated nodes that the formula set, truncated, never negative; `None` where it set
    /// none or failed. The full name wins over the alias.
    pub fn dedicated(&self) -> Option<u32> {
        self.target([Variable::Dedicated(Spelling::Full), Variable::Dedicated(Spelling::Alias)])
            .map(|(_, nodes)| nodes)
    }

    /// The low-priority nodes that the formula set, truncated, never negative; `None` where it set
    /// none or failed. The full name wins over the alias.
    pub fn low_priority(&self) -> Option<u32> {
        self.target([Variable::LowPriority(Spelling::Full), Variable::LowPriority(Spelling::Alias)])
            .map(|(_, nodes)| nodes)
    }

    /// What happens to the tasks of nodes that leave.
    pub fn deallocation(&self) -> Deallocation {
        match self.assigned.get(&Variable::Deallocation) {
            Some(Value::Deallocation(option)) if !self.failed => *option,
            _ => self.before.1,
        }
    }

    /// The last value of a variable that the formula assigned, by the name that it used; also
    /// where the evaluation failed later.
    pub fn variable(&self, name: &str) -> Option<&Value> {
        self.assigned.get(&Variable::named(name))
    }

    fn target(&self, spellings: [Variable; 2]) -> Option<(Variable, u32)> {
        if self.failed {
            return None;
        }
        let found = spellings.into_iter().find_map(|variable| match self.assigned.get(&variable) {
            Some(Value::Double(nodes)) => Some((variable, *nodes)),
            _ => None,
        });
        found.map(|(variable, nodes)| (variable, nodes.clamp(0.0, TARGET_MAX) as u32))
    }

    /// The targets in the order and spelling of the results string.
    fn targets(&self) -> Vec<(Variable, u32)> {
        use Spelling::{Alias, Full};
        use Variable::{Dedicated, LowPriority};
        if self.failed {
            let Targets { dedicated, low_priority } = self.before.0;
            return vec![(Dedicated(Full), dedicated), (LowPriority(Full), low_priority)];
        }
        let dedicated = self.target([Dedicated(Full), Dedicated(Alias)]);
        dedicated.into_iter().chain(self.target([LowPriority(Full), LowPriority(Alias)])).collect()
    }
}

/// `$TargetDedicatedNodes=10;$NodeDeallocationOption=requeue;$isWeekday=1`: targets that were set,
/// the option, the formula's own variables by name. Of a failed evaluation the service shows both
/// present targets and the option.
impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (variable, nodes) in self.targets() {
            write!(f, "{}={nodes};", variable.name())?;
        }
        write!(f, "{}={}", Variable::Deallocation.name(), self.deallocation().as_str())?;
        if self.failed {
            return Ok(());
        }
        // `Variable`'s order is that of the names, the service's own first.
        let own = self.assigned.iter().filter(|(variable, _)| matches!(variable, Variable::User(_)));
        for (variable, value) in own {
            write!(f, ";{}={value}", variable.name())?;
        }
        Ok(())
    }
}
