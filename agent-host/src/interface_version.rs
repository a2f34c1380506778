//! The versions of the agent interface. A component is of the version whose interfaces it imports.

/// A version of the agent interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InterfaceVersion {
    /// `lockstep:agent@0.1.0`: every agent is given the names of all agents and models, and cannot finish the run.
    V0_1,
    /// `lockstep:agent@0.2.0`.
    V0_2,
}

impl InterfaceVersion {
    /// Both versions, the current one last.
    pub(crate) const ALL: [InterfaceVersion; 2] = [InterfaceVersion::V0_1, InterfaceVersion::V0_2];

    /// The interfaces of this version that a component may import, by their names: functions first, then types.
    pub(crate) fn interfaces(self) -> [&'static str; 2] {
        match self {
            InterfaceVersion::V0_1 => ["lockstep:agent/host@0.1.0", "lockstep:agent/types@0.1.0"],
            InterfaceVersion::V0_2 => ["lockstep:agent/host@0.2.0", "lockstep:agent/types@0.2.0"],
        }
    }

    /// The name of the interface with the functions of this version.
    pub(crate) fn host_interface(self) -> &'static str {
        self.interfaces()[0]
    }

    /// The version of a component with these imports. One that imports nothing of the interface has the current one.
    pub(crate) fn of_imports<'a>(mut imports: impl Iterator<Item = &'a str>) -> InterfaceVersion {
        let former = InterfaceVersion::V0_1.interfaces();
        match imports.any(|import| former.contains(&import)) {
            true => InterfaceVersion::V0_1,
            false => InterfaceVersion::V0_2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_tell_the_version() {
        for version in InterfaceVersion::ALL {
            for import in version.interfaces() {
                assert_eq!(InterfaceVersion::of_imports([import].into_iter()), version);
            }
        }
        let without = InterfaceVersion::of_imports(std::iter::empty());
        assert_eq!(without, InterfaceVersion::V0_2);
    }
}
