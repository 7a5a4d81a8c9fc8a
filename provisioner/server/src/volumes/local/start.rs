//! What QEMU is to be started with of a volume. It has its keys in the clear, and is never logged.

use mezame_images::{encryption::VolumeKeys, volume::Volume};
use mezame_model::api::volumes::{Limits, SecretObject, VolumeClass, VolumeStart};
use zeroize::Zeroizing;

use super::{ExecutorError, Reason};

/// That of a plain volume of which nothing had to be put back. The limits are left out.
pub(super) fn of(volume: &Volume, keys: &VolumeKeys) -> Result<VolumeStart, ExecutorError> {
    let secrets = volume.secrets(keys);
    let secrets = secrets.map_err(|e| ExecutorError::new(Reason::Failed, e.to_string()))?;
    let object = |(id, format, data): (&str, &'static str, Zeroizing<Vec<u8>>)| {
        let data = String::from_utf8_lossy(&data).into_owned();
        SecretObject { id: id.into(), format: format.into(), data }
    };
    Ok(VolumeStart {
        id: volume.id().to_string(),
        class: VolumeClass::Plain,
        blockdev: volume.blockdev(),
        device: volume.device(),
        secrets: secrets.objects().map(object).collect(),
        recovered_bytes: 0,
        limits: Limits::default(),
    })
}
