"""What findings are called elsewhere: NIH's spellings, and other languages.

A name is compared whole (case and underscores aside), never by a part of it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["FOREIGN_NAMES"]

#: Canonical finding -> German, French, Spanish, Italian and Portuguese names.
_NAMES: Final[Mapping[str, str]] = {
    "Cardiomegaly": "Kardiomegalie, Herzvergrößerung, Cardiomégalie, Cardiomegalia, "
    "Cardiomegalía",
    "Lung Opacity": "Verschattung, Lungenverschattung, Opacité, Opacité pulmonaire, "
    "Opacidad pulmonar, Opacità polmonare, Opacidade pulmonar",
    "Lung Lesion": "Lungenherd, Lésion pulmonaire, Lesión pulmonar, "
    "Lesione polmonare, Lesão pulmonar",
    "Edema": "Lungenödem, Lungenoedem, Ödem, Oedème, Œdème, Oedème pulmonaire, Edema "
    "pulmonar, Edema polmonare, Pulmonary Edema",
    "Consolidation": "Konsolidierung, Konsolidation, Condensation, Consolidación, "
    "Consolidamento, Addensamento, Consolidação",
    "Pneumonia": "Pneumonie, Lungenentzündung, Neumonía, Polmonite",
    "Atelectasis": "Atelektase, Atelektasen, Dystelektase, Atélectasie, Atelectasia",
    "Pneumothorax": "Neumotórax, Pneumotorace, Pneumotórax",
    "Pleural Effusion": "Effusion, Erguss, Pleuraerguss, Pleuraerguß, Pleuraergüsse, "
    "Épanchement pleural, Derrame pleural, Versamento pleurico",
    "Fracture": "Fraktur, Fractura, Frattura, Fratura",
    "Rib Fracture": "Rippenfraktur, Fracture costale, Fractura costal, Frattura "
    "costale, Fratura costal",
    "Support Devices": "Fremdmaterial, Implantate, Dispositifs, Dispositivos, "
    "Dispositivi",
    "Infiltration": "Infiltrat, Infiltrate, Infiltrado, Infiltrato",
    "Mass": "Raumforderung, Masse, Masa, Massa",
    "Nodule": "Rundherd, Lungenrundherd, Nodulo, Nódulo",
    "Emphysema": "Emphysem, Lungenemphysem, Emphysème, Enfisema",
    "Fibrosis": "Fibrose, Lungenfibrose, Fibrosi",
    "Pleural Thickening": "Pleuraverdickung, Pleuraschwiele, Épaississement pleural, "
    "Engrosamiento pleural, Ispessimento pleurico, Espessamento pleural",
    "Hernia": "Hernie, Hiatushernie",
    "Tuberculosis": "Tuberkulose, Tuberculose, Tubercolosi",
    "Scoliosis": "Skoliose, Scoliose, Escoliosis, Scoliosi, Escoliose",
}

#: Name elsewhere -> canonical finding.
FOREIGN_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {name: finding for finding, names in _NAMES.items() for name in names.split(", ")}
)
