"""Names of figures in the catalog's `metrics`, all in one place; they are public."""

from enum import StrEnum

__all__ = ["Bound", "Metric"]


class Metric(StrEnum):
    """What a row of `metrics` is a value of."""

    AUROC = "auroc"
    AUROC_BOOTSTRAP = "auroc_bootstrap"
    AUROC_POSITIVE = "auroc_positive"
    AVERAGE_PRECISION = "average_precision"
    F1 = "f1"
    SENSITIVITY_AT_90_SPECIFICITY = "sensitivity_at_90_specificity"
    BRIER = "brier"
    CALIBRATION_ERROR = "calibration_error"
    CALIBRATION_ERROR_BY_CHANCE = "calibration_error_by_chance"
    BRIER_CONSTANT = "brier_constant"
    CALIBRATION_ERROR_CONSTANT = "calibration_error_constant"
    PREVALENCE_CONSTANT = "prevalence_constant"
    THRESHOLD = "threshold"
    CONFORMAL_COVERAGE = "conformal_coverage"
    CONFORMAL_SINGLE = "conformal_single"
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    N_POSITIVE = "n_positive"
    N_OBSERVED = "n_observed"
    N_IMAGES = "n_images"
    MACRO_AUROC = "macro_auroc"
    MACRO_AVERAGE_PRECISION = "macro_average_precision"
    MACRO_F1 = "macro_f1"
    MACRO_BRIER = "macro_brier"
    MACRO_BRIER_CONSTANT = "macro_brier_constant"
    MACRO_CALIBRATION_ERROR = "macro_calibration_error"
    MACRO_CALIBRATION_ERROR_BY_CHANCE = "macro_calibration_error_by_chance"
    MACRO_CALIBRATION_ERROR_CONSTANT = "macro_calibration_error_constant"
    N_FINDINGS = "n_findings"
    N_FINDINGS_LEFT_OUT = "n_findings_left_out"
    INCREMENTAL_AUROC = "incremental_auroc"
    TASK_INTRODUCED = "task_introduced"
    ZERO_SHOT_AUROC = "zero_shot_auroc"
    FINAL_AUROC = "final_auroc"
    FINAL_AUROC_ALL = "final_auroc_all"
    FINAL_AUROC_POSITIVE = "final_auroc_positive"
    AVERAGE_INCREMENTAL_AUROC = "average_incremental_auroc"
    BACKWARD_TRANSFER = "backward_transfer"
    FORGETTING = "forgetting"
    FORWARD_TRANSFER = "forward_transfer"
    JOINT_GAP = "joint_gap"
    SEQUENCE_GAP = "sequence_gap"
    ZERO_SHOT_RETENTION = "zero_shot_retention"
    AUROC_JOINT = "auroc_joint"
    AUROC_JOINT_OBSERVED = "auroc_joint_observed"
    AUROC_ANALYTIC = "auroc_analytic"
    AUROC_LOGISTIC_REGRESSION = "auroc_logistic_regression"
    MACRO_AUROC_JOINT = "macro_auroc_joint"
    MACRO_AUROC_JOINT_OBSERVED = "macro_auroc_joint_observed"
    MACRO_AUROC_ANALYTIC = "macro_auroc_analytic"
    MACRO_AUROC_LOGISTIC_REGRESSION = "macro_auroc_logistic_regression"

    @property
    def macro(self) -> "Metric":
        """The mean over findings of a figure that has one.

        >>> Metric.BRIER.macro.value
        'macro_brier'
        """
        return Metric[f"MACRO_{self.name}"]


class Bound(StrEnum):
    """What a scenario is compared with; the value is what people read."""

    JOINT = "joint"
    JOINT_OBSERVED = "joint-observed"
    ANALYTIC = "analytic"
    LOGISTIC_REGRESSION = "logistic regression"

    @property
    def auroc(self) -> Metric:
        """Its AUROC for one finding.

        >>> Bound.JOINT_OBSERVED.auroc.value
        'auroc_joint_observed'
        """
        return Metric[f"AUROC_{self.name}"]

    @property
    def macro_auroc(self) -> Metric:
        """Its mean AUROC over findings."""
        return Metric[f"MACRO_AUROC_{self.name}"]
