//! One index type per table of the session, so that no table is indexed by another's number.

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u32);

        impl $name {
            /// The position in the table.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl From<usize> for $name {
            fn from(index: usize) -> Self {
                Self(u32::try_from(index).expect("a table holds less than 2^32 rows"))
            }
        }
    };
}

index!(
    /// A process image: a row of [`Session::processes`](super::Session::processes).
    ProcessId
);
index!(
    /// A thread (or, later, a goroutine): a row of [`Session::threads`](super::Session::threads).
    ThreadId
);
index!(
    /// A lock: one generation of one address in one process: a row of [`Session::locks`](super::Session::locks).
    LockId
);
index!(
    /// A call stack: a node of [`Stacks`](super::Stacks); `StackId(0)` is the empty (unknown) stack.
    StackId
);
index!(
    /// A loaded file with code: a row of [`Stacks::modules`](super::Stacks::modules).
    ModuleId
);
index!(
    /// A (lock, stack, mode): a row of [`Profile::sites`](super::Profile::sites).
    SiteId
);
