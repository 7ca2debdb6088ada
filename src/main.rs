//! The `postbackd` binary.
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let path = std::path::PathBuf::from(std::env::args().nth(1).unwrap_or_default());
    let loaded = postbackd::config::load(&path)?;
    postbackd::ops::telemetry::start(&loaded.settings.log)?;
    postbackd::app::run(loaded.settings, &path).await?;
    Ok(())
}
