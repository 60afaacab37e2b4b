"""From a job to a trained model, alone or in a cohort."""
