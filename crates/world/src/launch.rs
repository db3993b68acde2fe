//! Which launcher started this process, and as which of how many.

use crate::WorldError;

/// What a launcher says of a process that it started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launched {
    /// The number of the process, from 0.
    pub rank: usize,
    /// How many there are.
    pub size: usize,
    /// The number of the process on its machine, from 0: which of its devices it takes.
    pub local_rank: usize,
    /// The launcher, or whose variables they are.
    pub by: &'static str,
}

/// The variables of a launcher.
struct Variables {
    by: &'static str,
    rank: &'static str,
    size: &'static str,
    local_rank: &'static str,
    /// Whether there are processes without `local_rank`, one on each machine.
    one_each: bool,
}

/// In the order in which they count.
///
/// Some launchers of Kubernetes set RANK and WORLD_SIZE to the number of a *machine* and of all
/// machines, and start a launcher of processes there that has variables of its own. So those two
/// count at once only with torchrun's LOCAL_RANK, which they do not set, and without it last. The
/// size of a SLURM job is no sign of processes either, as its script itself sees it: a step has
/// another variable.
const LAUNCHERS: [Variables; 6] = [
    Variables {
        by: "FEWSTEP_RANK",
        rank: "FEWSTEP_RANK",
        size: "FEWSTEP_WORLD_SIZE",
        local_rank: "FEWSTEP_LOCAL_RANK",
        one_each: true,
    },
    Variables {
        by: "torchrun",
        rank: "RANK",
        size: "WORLD_SIZE",
        local_rank: "LOCAL_RANK",
        one_each: false,
    },
    Variables {
        by: "srun",
        rank: "SLURM_PROCID",
        size: "SLURM_STEP_NUM_TASKS",
        local_rank: "SLURM_LOCALID",
        one_each: true,
    },
    Variables {
        by: "mpirun",
        rank: "OMPI_COMM_WORLD_RANK",
        size: "OMPI_COMM_WORLD_SIZE",
        local_rank: "OMPI_COMM_WORLD_LOCAL_RANK",
        one_each: true,
    },
    Variables {
        by: "mpiexec",
        rank: "PMI_RANK",
        size: "PMI_SIZE",
        local_rank: "MPI_LOCALRANKID",
        one_each: true,
    },
    Variables {
        by: "RANK",
        rank: "RANK",
        size: "WORLD_SIZE",
        local_rank: "LOCAL_RANK",
        one_each: true,
    },
];

impl Launched {
    /// From the variables of the environment; none where no launcher started this process.
    ///
    /// # Errors
    /// When the variables that count are no numbers, or do not go together.
    pub fn from_environment() -> Result<Option<Self>, WorldError> {
        Self::of(&|name| std::env::var(name).ok())
    }

    fn of(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, WorldError> {
        for launcher in &LAUNCHERS {
            let (rank, size) = (variable(launcher.rank), variable(launcher.size));
            let local = variable(launcher.local_rank);
            let (Some(rank), Some(size)) = (rank, size) else {
                continue;
            };
            if local.is_none() && !launcher.one_each {
                continue;
            }
            let rank = number(launcher.rank, &rank)?;
            let size = number(launcher.size, &size)?;
            if rank >= size {
                return Err(WorldError::Launch(format!(
                    "{} is {rank} and {} is {size}: ranks are counted from 0 and below the size",
                    launcher.rank, launcher.size
                )));
            }
            let local_rank = match local {
                Some(local) => number(launcher.local_rank, &local)?,
                None => 0,
            };
            return Ok(Some(Self {
                rank,
                size,
                local_rank,
                by: launcher.by,
            }));
        }
        Ok(None)
    }
}

fn number(name: &str, value: &str) -> Result<usize, WorldError> {
    value.trim().parse().map_err(|_| {
        WorldError::Launch(format!(
            "the variable {name} is `{value}`, and must be a whole number"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Launched>, WorldError> {
        let known: Vec<(String, String)> = variables
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        Launched::of(&|name| {
            let entry = known.iter().find(|(known, _)| known == name);
            entry.map(|(_, value)| value.clone())
        })
    }

    fn ranks(variables: &[(&str, &str)]) -> (&'static str, [usize; 3]) {
        let launched = of(variables).expect("valid").expect("launched");
        let Launched {
            rank,
            size,
            local_rank,
            by,
        } = launched;
        (by, [rank, size, local_rank])
    }

    const MPIRUN: [(&str, &str); 3] = [
        ("OMPI_COMM_WORLD_RANK", "5"),
        ("OMPI_COMM_WORLD_SIZE", "8"),
        ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
    ];

    #[test]
    fn each_launcher_is_known_by_its_variables() {
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(ranks(&MPIRUN), ("mpirun", [5, 8, 1]));
        let torchrun = [("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1")];
        assert_eq!(ranks(&torchrun), ("torchrun", [3, 4, 1]));
        let srun = [
            ("SLURM_PROCID", "2"),
            ("SLURM_STEP_NUM_TASKS", "6"),
            ("SLURM_LOCALID", "0"),
        ];
        assert_eq!(ranks(&srun), ("srun", [2, 6, 0]));
        assert_eq!(
            ranks(&[("PMI_RANK", "1"), ("PMI_SIZE", "2")]),
            ("mpiexec", [1, 2, 0])
        );
        let own = [("FEWSTEP_RANK", "0"), ("FEWSTEP_WORLD_SIZE", "2")];
        let all = [&own[..], &torchrun, &srun, &MPIRUN].concat();
        assert_eq!(ranks(&all), ("FEWSTEP_RANK", [0, 2, 0]));
    }

    /// The number of a machine is not that of a process on it.
    #[test]
    fn the_index_of_a_node_is_no_rank_where_a_launcher_started_the_process() {
        let node = [("RANK", "1"), ("WORLD_SIZE", "2")];
        assert_eq!(ranks(&[&node[..], &MPIRUN].concat()), ("mpirun", [5, 8, 1]));
        // With one process on each machine it is one.
        assert_eq!(ranks(&node), ("RANK", [1, 2, 0]));
    }

    /// The script of a job sees how many tasks the job may have, and is one process itself.
    #[test]
    fn the_script_of_a_slurm_job_is_one_process() {
        let script = [
            ("SLURM_PROCID", "0"),
            ("SLURM_NTASKS", "4"),
            ("SLURM_LOCALID", "0"),
        ];
        assert_eq!(of(&script), Ok(None));
    }

    #[test]
    fn variables_that_cannot_be_are_named() {
        let error = of(&[("FEWSTEP_RANK", "2"), ("FEWSTEP_WORLD_SIZE", "2")]);
        assert!(
            error
                .expect_err("refused")
                .to_string()
                .contains("FEWSTEP_RANK is 2")
        );
        let error = of(&[("PMI_RANK", "one"), ("PMI_SIZE", "2")]).expect_err("refused");
        assert!(error.to_string().contains("PMI_RANK is `one`"));
    }
}
