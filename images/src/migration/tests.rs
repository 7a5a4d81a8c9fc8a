//! Guests that move between two QEMUs and get no further than their firmware. Their disks are written
//! as if by them: through their devices, by QEMU's own `qemu-io`.

mod failing;
mod host;
mod moving;
