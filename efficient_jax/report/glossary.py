"""Terms and their meanings: the words at the end of every page, and the legends under tables in the terminal."""

from collections.abc import Sequence

TERMS = {
    "accuracy": "Share of the images whose predicted class is the true one.",
    "95% interval": "The accuracy on endless test images of the same kind lies in it 95 times of 100 (Wilson; of IoU "
    "percentiles of 1,000 sets of as many images, drawn with replacement). It says nothing about how much another "
    "random seed would change.",
    "all labels right": "Share of the images of which every label, present or absent, is predicted correctly.",
    "AP, AP50, AP75": "Average precision of predicted boxes, the mean over the classes: the area under precision and "
    "recall. A box is right if its IoU with a true one is at least 0.5 (AP50), 0.75 (AP75), or the mean over 0.5 to "
    "0.95.",
    "AR, AR1, AR10, AR100": "Average recall of predicted boxes: the share of the true boxes that are found, the mean "
    "over IoU 0.5 to 0.95 and over the classes, with the 1, 10 or 100 best boxes of a class in an image (AR: 100). "
    "Small objects have an area of up to 32 x 32 pixels of the original image, large ones of 96 x 96 and above.",
    "augmentation": "Random changes to training images, such as shifts and rotations, so that the network learns to "
    "ignore them.",
    "average precision, mAP": "How well the predicted probabilities of a label rank images with it above images "
    "without it, from 0 to 100%; mAP is the mean over labels.",
    "balanced accuracy": "Mean over the classes of the share that is predicted correctly: rare classes count as much "
    "as frequent ones.",
    "boundary IoU": "The IoU of the pixels that are within 2% of the diagonal of the image from the edge of their "
    "region: edges count as much in a large region as in a small one. The mean over the classes.",
    "calibration error, ECE": "Mean gap between confidence and accuracy: at 0, predictions with 80% confidence are "
    "right 80% of the time.",
    "confidence": "The probability of the predicted class.",
    "confusion matrix": "How many images of each true class (row) are predicted as each class (column). Correct "
    "predictions lie on the diagonal.",
    "covered": "Share of the prediction sets that contain the true class. The interval is that of the coverage over "
    "95% of draws of so many calibration images.",
    "differ": "Share of the images for which two networks predict different classes.",
    "ECE floor": "The calibration error that perfect calibration would show with as few images.",
    "errors' correlation": "From -1 to 1: whether two networks are wrong on the same images. Votes gain most where it "
    "is low.",
    "F1, macro F1, micro F1": "The harmonic mean of precision and recall. Macro: the mean over classes; micro: of all "
    "labels together.",
    "Grad-CAM": "A map of the pixels that raise the network's score for one class.",
    "IoU, mean IoU": "Intersection over union: the pixels that both the prediction and the truth give a class, divided "
    "by those that one of them does.",
    "loss": "What training minimizes: low when the correct class gets a high probability.",
    "margin": "The probability of the most probable class minus that of the second.",
    "negative log-likelihood, NLL": "Mean of -log(probability of the true class): 0 is perfect, and confident mistakes "
    "cost most.",
    "p": "Probability of a difference at least this large if both were equally good (McNemar's exact test of won "
    "against lost). Up to 0.05 a difference is called clear.",
    "precision": "Of the images predicted as a class, the share that has it.",
    "pseudo-label": "A label that a trained network, the teacher, gives to an image without one.",
    "rank correlation": "From -1 to 1: whether two maps order the pixels alike.",
    "recall": "Of the images of a class, the share that is predicted as it.",
    "slice": "The test images within a range of one property, such as brightness.",
    "soup": "One network whose weights are the mean of the weights of several.",
    "spread": "How different the images of a class are, relative to all images: small is uniform, above 1 is mixed.",
    "stage": "One network and its training; later stages can learn from earlier ones.",
    "start": "The stage or the weights from which training continues.",
    "step": "One change of the weights, computed from one batch of images.",
    "teacher": "The stage whose predictions another stage learns.",
    "temperature": "What logits are divided by, fitted to the validation images; above 1, the network was too "
    "confident.",
    "threshold": "The probability from which on a label is predicted as present.",
    "won, lost": "Test images that only the network itself predicts correctly, and those that only the network it is "
    "compared with does; where images have a mean IoU, those on which it is higher, and on which it is lower.",
    "vote": "A prediction from several networks: the mean of their probabilities (soft), or the most frequent class "
    "(hard).",
}
"""Names of a term, separated by commas -> its meaning."""


def legend(headers: Sequence[str]) -> str:
    """Returns what the figures of a table mean, a line for each term; "" where there is none.

    Args:
        headers: of its columns: names of terms, with or without a unit, such as "differ, %".
    """
    return "\n".join(f"{term}: {TERMS[term]}" for term in terms(headers))


def terms(headers: Sequence[str]) -> list[str]:
    """Returns the terms that headers name, each once.

    Args:
        headers: as for `legend`.
    """
    names = {name: term for term in TERMS for name in term.split(", ")}
    plain = [header.removesuffix(" [95% interval]").removesuffix(", %") for header in headers]
    return list(dict.fromkeys(names[name] for name in plain if name in names))
