// A storage account that answers to identities only, with its containers, queues and tables.

import { skuType, tagsType } from '../types.bicep'

@description('Name of the account.')
@minLength(3)
@maxLength(24)
param accountName string

@description('Region.')
param location string

@description('Tags.')
param tags tagsType

@description('How often, and where, Azure keeps copies.')
param sku skuType = 'Standard_LRS'

@description('Blob containers to make.')
param containerNames string[] = []

@description('Queues to make.')
param queueNames string[] = []

@description('Tables to make.')
param tableNames string[] = []

@description('Container whose blobs are deleted after expiringDays; empty for none.')
param expiringContainer string = ''

@description('Age in days at which blobs of expiringContainer are deleted.')
param expiringDays int = 30

@description('Whether the account is closed to all but private endpoints and trusted Azure services (Event Grid).')
param privateOnly bool

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  // checkov:skip=CKV_AZURE_35: parameter privateOnly decides; without it identities are what keeps others out
  // checkov:skip=CKV_AZURE_59: the firewall closes the account, but for trusted services
  // checkov:skip=CKV_AZURE_206: what is here can be counted again from the flow logs
  // checkov:skip=CKV_AZURE_43: the name is a parameter, of 3 to 24 lower-case letters and digits
  name: accountName
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: sku
  }
  properties: {
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: 'Enabled'
    networkAcls: {
      defaultAction: privateOnly ? 'Deny' : 'Allow'
      // Event Grid comes from no address that could be named, and has to write its dead letters.
      bypass: 'AzureServices'
    }
  }
}

resource blobService 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: account
  name: 'default'
}

resource containers 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = [
  for name in containerNames: {
    parent: blobService
    name: name
    properties: {
      publicAccess: 'None'
    }
  }
]

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2025-06-01' = {
  parent: account
  name: 'default'
}

resource queues 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' = [
  for name in queueNames: {
    parent: queueService
    name: name
  }
]

resource tableService 'Microsoft.Storage/storageAccounts/tableServices@2025-06-01' = {
  parent: account
  name: 'default'
}

resource tables 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-06-01' = [
  for name in tableNames: {
    parent: tableService
    name: name
  }
]

resource expiry 'Microsoft.Storage/storageAccounts/managementPolicies@2025-06-01' = if (!empty(expiringContainer)) {
  parent: account
  name: 'default'
  properties: {
    policy: {
      rules: [
        {
          name: 'expiry'
          type: 'Lifecycle'
          definition: {
            filters: {
              blobTypes: [
                'blockBlob'
                'appendBlob'
              ]
              prefixMatch: [
                '${expiringContainer}/'
              ]
            }
            actions: {
              baseBlob: {
                delete: {
                  daysAfterModificationGreaterThan: expiringDays
                }
              }
            }
          }
        }
      ]
    }
  }
}

// From here on whoever has the outputs can rely on containers, queues and tables being there.
@description('Resource id of the account.')
output id string = account.id

@description('Name of the account.')
output name string = account.name

@description('Address of the blob service, with a slash at its end.')
output blobServiceUri string = account.properties.primaryEndpoints.blob

@description('Address of the queue service.')
output queueServiceUri string = account.properties.primaryEndpoints.queue

@description('Address of the table service.')
output tableServiceUri string = account.properties.primaryEndpoints.table
