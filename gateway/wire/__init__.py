"""What travels between the processes: Redis keys, jobs, frames, usage events. Versioned msgspec structs."""
