"""What Apache's mod_wsgi loads; POMS_CONFIG, set in the environment of Apache, names another poms.ini."""
from poms.webservice.cli.serve import application_for
application = application_for()
